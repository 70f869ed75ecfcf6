"""Conformance checks and small real material, for tests of plugins.

`check_component` checks what the contract asks of a component's kind; the `small_*` functions give
models and data of seconds to test anything else on. The hypothesis strategies are in
`seqvae_core.testing.strategies`, which is imported on its own. The core never imports this package.
"""

from seqvae_core.testing.conformance import check_component, check_plugin
from seqvae_core.testing.small import small_batch, small_model, small_shapes, small_splits
from seqvae_core.testing.throwaway import plugins_with

__all__ = [
    "check_component",
    "check_plugin",
    "plugins_with",
    "small_batch",
    "small_model",
    "small_shapes",
    "small_splits",
]
