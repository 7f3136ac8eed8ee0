"""`avvp.search` finds what `avvp search` finds."""

from __future__ import annotations

from pathlib import Path

import avvp
import pytest
from support.stand_in_teachers import TRUST, make_film, write_stand_ins


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


def test_search(bundle: Path, tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", [("red", None, 2), ("blue", "high tone", 3)])
    trust = [TRUST[1]]
    with avvp.load(bundle, trust_parts=trust, classes=["x"], embeddings=tmp_path / "kept") as parser:
        parser.parse(film)
    found = avvp.search("blue", tmp_path / "kept", weights=bundle, trust_parts=trust)
    assert [(m.onset, m.offset, m.modality, m.heard is None) for m in found.moments] == [(2, 5, "visual", False)]
    assert (found.files, found.seconds, found.total) == (1, 5, 1)
    pair = avvp.search(
        ["blue", "high tone"], [tmp_path / "kept"], together=True, weights=bundle, trust_parts=trust, top=1
    )
    assert [(m.text, m.modality) for m in pair.moments] == [("blue + high tone", "audio_visual")]
    with pytest.raises(avvp.SetupError, match="no kept embeddings"):
        avvp.search("blue", weights=bundle, trust_parts=trust)
    with pytest.raises(avvp.SetupError, match="0 texts"):
        avvp.search([], tmp_path / "kept", weights=bundle, trust_parts=trust)
    with pytest.raises(ValueError, match="top is at least 1"):
        avvp.search("blue", tmp_path / "kept", top=0)
