// Start of the program that the pages of a folder share: completes a page's data and body before the rest runs.
"use strict";

{
  const element = document.getElementById("data");
  const own = JSON.parse(element.textContent);
  const data = { ...DEFAULTS, ...own, document: { ...DEFAULTS.document, ...own.document } };
  const bytes = 4 * data.segments * data.classes; // of a table of float32
  for (const [name, text] of Object.entries(data.probabilities ?? {})) {
    const table = atob(text);
    if (table.length < bytes) data.probabilities[name] = btoa(table.repeat(data.segments));
  }
  element.textContent = JSON.stringify(data);
  document.body.insertAdjacentHTML("afterbegin", BODY); // of the program, without any text of the page
}
