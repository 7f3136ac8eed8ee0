"""Sounds with the pictures of other clips: features, labels, and what stays as it is."""

from __future__ import annotations

import pytest
import torch
from avvp.models.losses import Targets
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.training.batches.recombine import join_partners, pair_across, recombine


def make_batch(lengths: tuple[int, ...] = (4, 4, 4), *, segments: bool = True) -> Batch:
    """Clip i has i in all its features, and the class i in both modalities and in its first second."""
    count, longest = len(lengths), max(lengths)
    one_hot = torch.eye(count)
    table = torch.zeros(count, longest, count)
    table[:, 0] = one_hot
    features = torch.arange(count).float()[:, None, None].expand(count, longest, 2)
    return Batch(
        features, features, features, torch.tensor(lengths) if len(set(lengths)) > 1 else None,
        Targets(one_hot, *((table, table.clone()) if segments else ()), audio_frequency=torch.ones(count)),
        tuple(map(str, range(count))),
    )  # fmt: skip


def sources(batch: Batch) -> list[int]:
    assert batch.visual_2d is not None
    assert batch.visual_3d is not None
    assert torch.equal(batch.visual_2d, batch.visual_3d)
    return batch.visual_2d[:, 0, 0].int().tolist()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_labels_follow_their_modality() -> None:
    batch = make_batch()
    changed = recombine(batch, 1.0, generator(), weak=False)
    targets = changed.targets
    assert isinstance(targets, Targets)
    assert targets.audio_segments is not None
    assert targets.visual_segments is not None
    assert torch.equal(changed.audio, batch.audio)
    assert changed.filenames == batch.filenames
    for clip, source in enumerate(sources(changed)):
        assert source != clip
        assert targets.audio_segments[clip].any(0).nonzero().flatten().tolist() == [clip]
        assert targets.visual_segments[clip].any(0).nonzero().flatten().tolist() == [source]
        assert targets.video[clip].nonzero().flatten().tolist() == sorted({clip, source})
    assert targets.audio is None  # segment labels decide


def test_weak_labels_become_those_of_the_modalities() -> None:
    changed = recombine(make_batch(segments=False), 1.0, generator(), weak=True)
    targets = changed.targets
    assert isinstance(targets, Targets)
    assert targets.audio is not None
    assert targets.visual is not None
    for clip, source in enumerate(sources(changed)):
        assert targets.audio[clip].nonzero().flatten().tolist() == [clip]
        assert targets.visual[clip].nonzero().flatten().tolist() == [source]
        assert targets.video[clip].nonzero().flatten().tolist() == sorted({clip, source})


def test_denoised_labels_are_the_modalities() -> None:
    batch = make_batch(segments=False)
    removed = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert isinstance(batch.targets, Targets)
    batch = batch._replace(targets=batch.targets._replace(audio=removed, visual=torch.eye(3)))
    changed = recombine(batch, 1.0, generator(), weak=True)
    assert isinstance(changed.targets, Targets)
    assert changed.targets.video[0].nonzero().flatten().tolist() == [sources(changed)[0]]  # its own sound has none


@pytest.mark.parametrize("weak", [True, False])
def test_unchanged_clips_keep_their_labels(weak: bool) -> None:
    batch = make_batch()
    same = recombine(batch, 0.0, generator(), weak=weak)
    assert sources(same) == [0, 1, 2]
    assert isinstance(same.targets, Targets)
    assert isinstance(batch.targets, Targets)
    assert torch.equal(same.targets.video, batch.targets.video)


def test_partners_have_the_same_length() -> None:
    for seed in range(5):
        found = sources(recombine(make_batch((4, 2, 4, 3)), 1.0, generator(seed), weak=False))
        assert found == [2, 1, 0, 3]


def test_the_share_is_that_of_the_clips() -> None:
    batch = make_batch((2,) * 200)
    moved = sum(source != clip for clip, source in enumerate(sources(recombine(batch, 0.5, generator(), weak=False))))
    assert 75 < moved < 125


def test_pairs_for_the_contrast() -> None:
    batch = make_batch((4, 2, 3))
    doubled = pair_across(batch, generator())
    assert isinstance(doubled.targets, Targets)
    partners = doubled.targets.partners
    assert partners is not None
    assert sources(doubled) == [0, 1, 2, *partners.tolist()]
    assert (partners != torch.arange(3)).all()
    assert doubled.audio[:, 0, 0].int().tolist() == [0, 1, 2, 0, 1, 2]
    assert doubled.lengths is not None
    assert doubled.lengths.tolist() == [4, 2, 3, *(min((4, 2, 3)[a], (4, 2, 3)[b]) for a, b in enumerate(partners))]
    assert len(doubled.targets.video) == 3
    assert pair_across(make_batch((4,)), generator()).audio.shape[0] == 1


def test_every_other_clip_can_be_the_partner() -> None:
    found = {tuple(sources(pair_across(make_batch(), generator(seed)))[3:]) for seed in range(60)}
    assert len(found) == 8  # two others for each of three


def test_given_partners() -> None:
    joined = join_partners(make_batch(), torch.tensor([1, 2, 1]))
    assert sources(joined)[3:] == [1, 2, 1]
    assert joined.lengths is None
