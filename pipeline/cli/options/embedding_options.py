"""Options of commands that keep the embeddings of videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .command import OUTPUT_FOLDER, CommandOptions, given_flags, is_given, option

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...embeddings.store import EmbeddingStore


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions(CommandOptions):
    """Where embeddings are kept, so that other classes need no decoding."""

    heading: ClassVar[str] = "Any classes"
    embeddings: Path | None = field(
        metadata=option(
            "--embeddings",
            type=OUTPUT_FOLDER,
            show_default="in the user's cache",
            help="Folder in which embeddings are kept: the next --classes decode nothing.",
        )
    )
    no_embeddings: bool = field(
        metadata=option("--no-embeddings", is_flag=True, help="Neither keep embeddings nor use those that are kept.")
    )

    def check_embeddings(self, bundle: Bundle) -> None:
        """Raise click.UsageError for these options where they exclude each other, or nothing is kept.

        Of one that is typed and one that is set for good, the typed one counts.
        """
        flags = given_flags(EmbeddingOptions)
        if self.embeddings is not None and self.no_embeddings and len(flags) != 1:
            raise click.UsageError("--embeddings and --no-embeddings exclude each other")
        if not bundle.is_open and flags:
            raise click.UsageError(f"{flags[0]} goes with --classes: other bundles keep no embeddings")

    def embedding_store(self, bundle: Bundle) -> EmbeddingStore | None:
        """Return where the embeddings of single files are kept; None where they are not."""
        if not bundle.is_open or (self.no_embeddings and not is_given("embeddings")):
            return None
        from ...embeddings.store import EmbeddingStore

        return EmbeddingStore(self.embeddings)
