"""The functions and types of `import avvp` that load networks once and parse files, arrays and lists of them."""
