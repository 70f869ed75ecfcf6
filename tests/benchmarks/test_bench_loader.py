"""What buckets save: lengths spread 1 to 10, 8 to 80 frames, 257 numbers a frame."""

from itertools import cycle
from statistics import median

import dsae
import torch

from seqvae_core.loading import Order, padding_share, train_batches

COUNT, SHORTEST, LONGEST, BUCKET = 1024, 8, 80, 16
LENGTHS = torch.linspace(SHORTEST, LONGEST, COUNT).round().long().tolist()


def data():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, dsae.WIDTH, generator=generator) for length in LENGTHS]


def order(bucket):
    return Order(count=COUNT, batch_size=dsae.BATCH, seed=0, bucket=bucket, lengths=LENGTHS)


def loading(sequences, bucket):
    """Return a function that loads one epoch's sequences."""

    def epoch():
        batches = train_batches(sequences, order(bucket), start=0, steps=COUNT // dsae.BATCH)
        assert sum(len(batch) for batch in batches) == COUNT

    return epoch


def stepping(plugins, sequences, bucket):
    """Return a function that does the training steps of a bucket, loaded before."""
    trainer = dsae.trainer(plugins)
    batches = cycle(list(train_batches(sequences, order(bucket), start=0, steps=BUCKET)))

    def steps():
        for _ in range(BUCKET):
            trainer.advance([next(batches)])

    return steps


def test_loading_with_buckets_pads_little_and_costs_no_more_than_without(benchmark, ratio):
    padded = {bucket: 1.0 / (1.0 - padding_share(order(bucket))) for bucket in (BUCKET, 1)}
    sequences = data()
    found = ratio(loading(sequences, BUCKET), loading(sequences, 1), rounds=9)
    benchmark.extra_info |= {
        "sequences/s": COUNT / median(benchmark.stats.stats.data),
        "frames loaded for a real one": padded[BUCKET],
        "the same without buckets": padded[1],
    }
    benchmark.stats.name += f", {padded[BUCKET]:.3f} frames for a real one, not {padded[1]:.3f}"
    assert padded[BUCKET] <= 1.06
    assert found <= 1.0


def test_a_step_with_buckets_costs_at_most_seven_tenths_of_one_without(ratio, plugins):
    sequences = data()
    mine, theirs = stepping(plugins, sequences, BUCKET), stepping(plugins, sequences, 1)
    assert ratio(mine, theirs, rounds=5) <= 0.7
