"""A plugin for a later seqvae."""

raise AssertionError("never imported: its requirement is not met")
