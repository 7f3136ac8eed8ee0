"""Defaults of options from the environment and from avvp.toml: precedence, errors, what a working folder may set."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from avvp.pipeline.cli import main
from avvp.pipeline.cli.main import avvp
from avvp.pipeline.cli.options.defaults import FOLDER_OPTIONS, Defaults, settable_options, variable_name
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.timeline import Event, Timeline
from support.command import Run
from support.media import Clips
from support.paths import ROOT

COMMANDS = dict(Defaults(avvp).commands())
SOURCES = [path for folder in ("pipeline", "weights", "extractors", "models") for path in (ROOT / folder).rglob("*.py")]
# Variables that the program reads by their names.
RESERVED = {name for path in SOURCES for name in re.findall(r'"(AVVP_[A-Z_]+)"', path.read_text(encoding="utf-8"))}


@pytest.fixture
def user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the user's avvp.toml. The working folder is an empty one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    path = tmp_path / "config" / "avvp" / "avvp.toml"
    path.parent.mkdir(parents=True)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write(text: str) -> Path:
        path.write_text(text)
        return path

    return write


@pytest.fixture
def events(user_file: Callable[[str], Path]) -> Path:
    """An event file in the working folder: two events."""
    user_file("")
    found = [Event("audio", "Dog", 0.0, 1.0, 0.9), Event("visual", "Car", 1.0, 2.0, 0.3)]
    timeline = Timeline.of_events(found, path="one.mp4", duration=2.0, labels=("Dog", "Car"))
    path = Path("one.events.json")
    path.write_bytes(FORMATS["json"].write(timeline)[0])
    return path


def test_the_command_line_goes_before_the_environment_and_that_before_files(
    run: Run, events: Path, user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_line(*options: str) -> str:
        result = run("convert", events, *options)
        assert result.status == 0, result.err
        return result.out.splitlines()[0]

    headers = {"json": "{", "csv": "file,modality,label,onset,offset,score"}
    tab = headers["csv"].replace(",", "\t")
    assert first_line() == headers["json"]
    user_file('[defaults]\nformat = "json"\n[convert]\nformat = "tsv"\n')
    assert first_line() == tab  # the table of the command, not [defaults]
    Path("avvp.toml").write_text('[defaults]\nformat = ["csv"]\n')
    assert first_line() == headers["csv"]  # the working folder, even its [defaults]
    monkeypatch.setenv("AVVP_CONVERT_FORMAT", "json")
    assert first_line() == headers["json"]
    assert first_line("-f", "tsv") == tab
    monkeypatch.setenv("AVVP_CONVERT_FORMAT", "")  # empty is not set
    assert first_line() == headers["csv"]
    monkeypatch.setenv("AVVP_CONFIG", "")  # no file is read
    assert first_line() == headers["json"]
    Path("other.toml").write_text('[convert]\nformat = "tsv"\n')
    monkeypatch.setenv("AVVP_CONFIG", "other.toml")
    assert first_line() == tab


def test_a_note_names_what_the_working_folder_sets(run: Run, events: Path) -> None:
    Path("avvp.toml").write_text("[convert]\nmin_score = 0.5\n")
    result = run("convert", events, "-f", "csv")
    assert result.err == "note: --min-score 0.5 is set by avvp.toml: [convert] min-score\n"
    assert "Dog" in result.out
    assert "Car" not in result.out
    assert run("convert", events, "--min-score", "0").err == ""
    assert run("convert", events, "-q").err == ""


WRONG = {
    "[prase]\nthreshold = 0.5": "[prase] is not a command; did you mean parse?",
    "[default]\nthreshold = 0.5": "[default] is not a command; did you mean defaults?",
    'weights = "demo"': "weights is in no table; put it into [defaults] or into the table of a command",
    "[parse]\nthresold = 0.5": "[parse] thresold: avvp parse has no such option; did you mean threshold?",
    "[defaults]\nmin-scor = 0.5": "[defaults] min-scor: no command has such an option; did you mean min-score?",
    '[parse]\nthreshold = "high"': "[parse] threshold is 'high'; a number is expected",
    "[parse]\nthreshold = true": "[parse] threshold is 'True'; a number is expected",
    "[parse]\nbatch-size = 1.5": "[parse] batch-size is '1.5'; a whole number is expected",
    '[parse]\nsegments = "yes"': "[parse] segments is 'yes'; true or false is expected",
    "[parse]\nweights = 3": "[parse] weights is '3'; a text in quotes is expected",
    "[parse]\nformat = [3]": "[parse] format is '[3]'; a text in quotes, or a list of them, is expected",
    "[parse]\nstart = true": "[parse] start is 'True'; a number or a text in quotes is expected",
    "[parse]\nstart = 00:01:30": "[parse] start is '00:01:30'; a number or a text in quotes is expected",
    f"[parse]\nthreshold = 1{'0' * 400}": "(401 characters); a number is expected",
    "[parse]\nthreshold = nan": "--threshold 'nan' is set by ",
    "[parse]\nthreshold = 3": "--threshold '3' is set by ",
    '[parse]\ndecoder = "vlc"': "--decoder 'vlc' is set by ",
    '[parse]\nweights = "nonsense"': "--weights 'nonsense' is set by ",
    "[parse]\nthreshold = 0.5\nweights = demo": "line 3",
    "[parse": "at end of document",
}


@pytest.mark.parametrize("text", WRONG, ids=WRONG.values())
def test_a_wrong_file_is_named_with_the_key_and_the_nearest_name(
    text: str, run: Run, user_file: Callable[[str], Path], clips: Clips
) -> None:
    path = user_file(text)
    result = run("parse", clips.blink)
    assert result.status == 2
    assert f"{path}: " in result.err
    assert WRONG[text] in result.err
    shown = run("parse", "--help")  # which helps to mend it
    assert shown.status == 0
    assert "--threshold" in shown.out


def test_other_tables_than_that_of_the_command_are_not_in_its_way(
    run: Run, events: Path, user_file: Callable[[str], Path]
) -> None:
    user_file("[parse]\nthresold = 0.5\n[weights.fetch]\nquiet = true\n")
    assert run("convert", events).status == 0
    assert run("weights", "fetch", "nonsense").err.count("nonsense") == 1
    user_file("[weights.fetch]\nquite = true\n")
    assert (
        "[weights.fetch] quite: avvp weights fetch has no such option; did you mean quiet?"
        in run("weights", "fetch", "demo").err
    )
    user_file("[weights]\nfetch = 3\n")
    assert "[weights fetch] is int, not a table" in run("weights", "fetch", "demo").err


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("overwrite = true", "overwrite"),
        ('output-dir = "/tmp"', "output-dir"),
        ('json-log = "/tmp/log"', "json-log"),
        ('weights = "./bundle"', "weights is './bundle'"),
        ('weights = "bundle"', "weights is 'bundle'"),
        ('address = "10.0.0.1:6379"', "address"),
        ('classes = "@names.txt"', "classes names a file"),
    ],
)
def test_the_file_of_a_working_folder_names_no_files_and_replaces_none(
    line: str, named: str, run: Run, user_file: Callable[[str], Path], clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may have come out of a stranger's archive."""
    (user_file("").parents[2] / "work" / "bundle").mkdir()
    Path("avvp.toml").write_text(f"[parse]\n{line}\n")
    result = run("parse", clips.blink)
    assert result.status == 2
    assert f"avvp.toml: [parse] {named}" in result.err
    assert "or set AVVP_CONFIG=avvp.toml if the file is yours" in result.err
    monkeypatch.setenv("AVVP_CONFIG", "avvp.toml")
    assert "AVVP_CONFIG" not in run("parse", "missing.mp4").err


def test_the_options_of_a_working_folder_exist_and_name_nothing() -> None:
    options = [item for command in COMMANDS.values() for item in settable_options(command).items()]
    assert {key for key, _ in options} >= FOLDER_OPTIONS
    for key, option in options:
        if key in FOLDER_OPTIONS - {"weights", "classes"}:  # whose values are looked at
            assert not isinstance(option.type, click.Path | click.File)
            assert not any(word in (option.metavar or "") for word in ("FILE", "FOLDER", "URL", "HOST", "ADDRESS"))


def test_every_option_has_a_variable_of_its_own() -> None:
    names = [variable_name(path, key) for path, command in COMMANDS.items() for key in settable_options(command)]
    assert len(set(names)) == len(names)
    assert not RESERVED & set(names)
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert {"AVVP_CONFIG", "AVVP_WEIGHTS_DIR"} <= RESERVED
    assert {name for name in RESERVED if f"| `{name}` |" not in page} == set()
    assert all(option.nargs == 1 for command in COMMANDS.values() for option in settable_options(command).values())


def test_a_mistyped_variable_is_noted(run: Run, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVVP_CONVERT_MIN_SCOR", "0.5")
    monkeypatch.setenv("AVVP_CONVERT_SERVICE_HOST", "10.0.0.1")  # Kubernetes, beside a service of this name
    result = run("convert", events)
    assert result.err == "note: AVVP_CONVERT_MIN_SCOR sets no option; did you mean AVVP_CONVERT_MIN_SCORE?\n"
    monkeypatch.delenv("AVVP_CONVERT_MIN_SCOR")
    monkeypatch.setenv("AVVP_CONVERT_MIN_SCORE", "much")
    result = run("convert", events)
    assert result.status == 2
    assert "--min-score 'much' is set by AVVP_CONVERT_MIN_SCORE" in result.err


def test_a_named_file_that_is_missing_is_an_error(run: Run, events: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVVP_CONFIG", "missing.toml")
    result = run("convert", events)
    assert (result.status, result.err) == (
        2, "Error: AVVP_CONFIG: missing.toml is not a file; empty it to read none\n",
    )  # fmt: skip


def test_help_shows_the_defaults_in_force(
    run: Run, user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user_file('[parse]\nweights = "demo"\nformat = ["csv", "vtt"]\nrecursive = true\n')
    monkeypatch.setenv("AVVP_PARSE_THRESHOLD", "0.7")
    text = "".join(run("parse", "-h").out.split())
    assert "[default:(0.7,setbyAVVP_PARSE_THRESHOLD);0<=x<=1]" in text
    assert f"[default:(demo,setby{path}:[parse]weights)]" in text
    assert f"[default:(csv,vtt,setby{path}:[parse]format)]" in text
    assert f"[default:(on,setby{path}:[parse]recursive)]" in text


def test_files_are_named_from_the_folder_of_the_toml(
    user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = user_file('[parse]\nweights = "~/b"\nweights-dir = "w"\nthresholds = "/t.toml"\n').parent
    values = {
        name: setting.value for name, setting in Defaults(avvp).of_command(("parse",), COMMANDS["parse",]).items()
    }
    assert values == {
        "weights": str(Path.home() / "b"), "weights_dir": str(folder / "w"), "thresholds": "/t.toml",
    }  # fmt: skip
    user_file('[parse]\nweights = "../b"\n')
    assert Defaults(avvp).of_command(("parse",), COMMANDS["parse",])["weights"].value == str(folder / "../b")
    user_file('[parse]\nweights = "demo"\n')
    assert Defaults(avvp).of_command(("parse",), COMMANDS["parse",])["weights"].value == "demo"
    user_file('[parse]\nstart = 1.5\nend = "1:30"\n')  # a type of our own
    times = Defaults(avvp).of_command(("parse",), COMMANDS["parse",])
    assert (times["start"].value, times["end"].value) == (1.5, "1:30")
    variables = {"AVVP_FIND_CLASS": "Dog Cat", "AVVP_FIND_ANY": "1"}
    settings = Defaults(avvp, environment={**os.environ, **variables}).of_command(("find",), COMMANDS["find",])
    assert settings["classes"].value == ["Dog", "Cat"]
    monkeypatch.chdir(folder)  # the file of the user, not one of the working folder
    assert [file.of_folder for file in Defaults(avvp).files] == [False]


def test_both_programs_parse_with_defaults_and_options_of_many_videos_do_no_harm(
    run: Run, user_file: Callable[[str], Path], tiny_bundle: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """--batch-size, --workers, --actors go with --output-dir, --no-bands with --html where they are typed."""
    user_file("[parse]\nbatch-size = 2\nworkers = 1\nactors = 2\nbands = false\n[defaults]\nthreads = 1\n")
    monkeypatch.setenv("AVVP_PARSE_WEIGHTS", str(tiny_bundle))
    monkeypatch.setenv("AVVP_PARSE_QUIET", "1")
    monkeypatch.setattr(sys, "argv", ["avvp-parse", str(clips.blink), "--debug"])
    with pytest.raises(SystemExit) as leaving:
        main.parse_main()
    captured = capfd.readouterr()
    assert not leaving.value.code, captured.err
    assert captured.err == ""
    assert json.loads(captured.out)["provenance"]["bundle"] == tiny_bundle.name
    result = run("parse", clips.blink, "--output-dir", "out")
    assert result.status == 0, result.err
    assert Path("out/blink.events.json").is_file()
    assert "--workers goes with --output-dir" in run("parse", clips.blink, "--workers", "1").err
    assert "--no-bands goes with --html" in run("parse", clips.blink, "--no-bands").err
    both = run("parse", clips.blink, "--output-dir", "out", "-o", "x.json")
    assert "-o and --output-dir exclude each other" in both.err
    assert "is set by" not in both.err
    monkeypatch.setenv("AVVP_PARSE_OUTPUT_DIR", "out")
    both = run("parse", clips.blink, "-o", "x.json")
    assert "exclude each other\n--output-dir 'out' is set by AVVP_PARSE_OUTPUT_DIR\n" in both.err


def test_defaults_of_a_parser_do_not_exclude_a_recipe_or_timelines(
    run: Run, user_file: Callable[[str], Path], tmp_path: Path
) -> None:
    user_file('[defaults]\nweights = "demo"\nthreshold = 0.6\nthreads = 1\n[evaluate]\nfeatures = "."\n')
    result = run("model-info", "--recipe", "leap-paper", "-f", "json")
    assert result.status == 0, result.err
    assert json.loads(result.out)["name"] == "leap-paper"
    assert json.loads(run("model-info", "-f", "json").out)["name"] == "demo"
    for subject in ("--timelines", "--pseudo-labels"):
        result = run("evaluate", subject, tmp_path, "--annotations", tmp_path)
        assert "leave out" not in result.err
        assert "AVVP_train.csv" in result.err or "annotations" in result.err, result.err
    typed = run("evaluate", "--timelines", tmp_path, "--annotations", tmp_path, "--threshold", "0.5")
    assert "--timelines are decided already; leave out --threshold" in typed.err


def test_a_resumed_run_keeps_its_number_of_epochs(
    user_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    from avvp.pipeline.cli.commands.training import train as command

    planned: list[int | None] = []

    def stop(options: command.TrainOptions) -> None:
        planned.append(options.epochs)
        raise click.UsageError("enough")

    user_file("[train]\nepochs = 7\n")
    monkeypatch.setattr(command, "_check_usage", stop)
    run("train", "-o", "run")
    run("train", "-o", "run", "--resume")
    run("train", "-o", "run", "--resume", "--epochs", "9")
    assert planned == [7, None, 9]


def test_the_page_has_a_valid_file_and_the_options_of_a_working_folder(user_file: Callable[[str], Path]) -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    user_file(example)
    defaults = Defaults(avvp)
    parse = {name: setting.value for name, setting in defaults.of_command(("parse",), COMMANDS["parse",]).items()}
    assert parse == {
        "device": "cpu", "weights": "demo", "formats": ["json", "vtt"], "merge_gap": 1, "recursive": True,
    }  # fmt: skip
    assert all(defaults.of_command(path, command) is not None for path, command in COMMANDS.items())
    listed = page.partition("It may set:")[2].partition("that `avvp weights list`")[0]
    assert set(re.findall(r"`([\w-]+)`", listed)) == FOLDER_OPTIONS


def test_no_file_of_this_repository_is_one_of_defaults() -> None:
    """Tests and examples that run there would have them."""
    assert not (ROOT / "avvp.toml").exists()
