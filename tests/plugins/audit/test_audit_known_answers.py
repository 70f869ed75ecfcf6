"""What an audit says of VAEs that are known by hand."""

import json
import math

import numpy as np
import pytest
import torch
from linear import DEAD, LOGVAR, SLOPES, TRUTH, USED, VARIANCES, Linear, decode, encode, inputs

from seqvae_audit import audit
from seqvae_audit.options import Options
from seqvae_audit.verdict import Rules

X = inputs()


def factors(found):
    return {row["factor"]: row for row in found.content["factors"]}


@pytest.fixture(scope="module")
def found():
    return audit(encode=encode, decode=decode, data=X, tasks=[], options=Options(decoded=600))


# Vectors ----------------------------------------------------------------------------------------


def test_each_factor_has_the_information_that_its_variance_says(found):
    for h, row in factors(found).items():
        assert row["mi"] == pytest.approx(TRUTH[h], abs=0.02)
        for bound in ("upper", "kl", "free_mean", "zero_mean"):
            assert row[bound] == pytest.approx(TRUTH[h], abs=0.02)
        assert row["mi"] <= row["free_mean"] + 1e-9


def test_the_strongest_come_first_and_each_is_named_for_what_it_is(found):
    assert [row["factor"] for row in found.content["factors"]] == [0, 3, 1, 2]
    assert found.verdict.status == {0: "matters", 3: "ignored", 1: "matters", 2: "dead"}
    verdict = found.content["verdict"]
    assert (verdict["matters"], verdict["ignored"], verdict["dead"]) == ([0, 1], [3], [2])


def test_an_exchange_changes_what_the_slopes_say_and_nothing_where_the_decoder_ignores(found):
    """Decoded is a²x_h, so that an exchange moves it by a⁴·2 in one of four elements."""
    for h, row in factors(found).items():
        expected = float(USED[h] * SLOPES[h] ** 4 * 2.0 / 4.0)
        assert row["effect"] == pytest.approx(expected, abs=0.05)
    assert factors(found)[3]["effect"] == factors(found)[2]["effect"] == 0.0


def test_setting_a_factor_to_its_mean_costs_what_it_explained(found):
    """1 - (1 - a²)² of one of four elements."""
    for h, row in factors(found).items():
        expected = float(USED[h] * (1.0 - (1.0 - SLOPES[h] ** 2) ** 2)) / 4.0
        assert row["cost"] == pytest.approx(expected, abs=2e-3)


def test_what_is_enough_are_the_factors_that_the_decoder_uses(found):
    """They are 0 and 1; the third in information is ignored, the last is dead."""
    verdict, made = found.content["verdict"], found.content["reconstruction"]
    assert (verdict["keep"], verdict["dropped"]) == (2, [3, 2])
    assert verdict["loss"] == pytest.approx(0.0, abs=1e-9)
    explained = {point["kept"]: point["explained"] for point in made["top"]}
    assert explained[0] == pytest.approx(0.0, abs=1e-3)
    assert explained[1] == pytest.approx((1.0 - 0.05**2) / 4.0, abs=2e-3)
    assert explained[2] == pytest.approx((2.0 - 0.05**2 - 0.3**2) / 4.0, abs=2e-3)
    assert explained[4] == pytest.approx(made["explained"])


def test_an_aggregate_that_is_the_prior_is_said_to_be(found):
    assert found.content["aggregate"]["off"] == []
    assert found.content["aggregate"]["kl_sum"] == pytest.approx(0.0, abs=0.02)


def test_an_aggregate_off_the_prior_is_found_with_its_size():
    """Mean 2 at unit variance: KL(N(2, 1)‖N(0, 1)) = 2, and the information is as before."""

    def shifted(x):
        mean, logvar = encode(x)
        return mean + torch.tensor([2.0, 0.0, 0.0, 0.0]), logvar

    found = audit(encode=shifted, decode=decode, data=X, tasks=[])
    assert found.content["aggregate"]["off"] == [0]
    row = factors(found)[0]
    assert row["aggregate_kl"] == pytest.approx(2.0, abs=0.03)
    assert row["mi"] == pytest.approx(TRUTH[0], abs=0.02)
    assert row["aggregate_mean"] == pytest.approx(2.0, abs=1e-3)


def test_saturation_is_said_where_posteriors_are_told_apart():
    def sharp(x):
        return x, torch.full_like(x, -30.0)

    found = audit(encode=sharp, decode=lambda z: z, data=X[:100], tasks=[])
    assert found.content["saturation"]["factors"] == [0, 1, 2, 3]
    assert found.content["saturation"]["ceiling"] == pytest.approx(math.log(100))


def test_constant_x_has_no_shares_and_that_is_said():
    found = audit(encode=encode, decode=decode, data=torch.ones(50, 4), tasks=[])
    assert found.content["reconstruction"]["explained"] is None
    assert found.content["verdict"]["keep"] is None
    assert {"what": "what can be left out", "why": "x is constant"} in found.content[
        "not_applicable"
    ]
    assert "x is constant" in " ".join(found.content["verdict"]["sentences"])
    assert "<html" in found.html()


# Maps -------------------------------------------------------------------------------------------

GRID = (3, 5)


def maps(count=300):
    """Return x (N, 4, 3, 5): each place of each channel is spread as N(0, 1) is over inputs."""
    return inputs(count, 4 * 15).reshape(count, 4, *GRID)


def encode_map(x):
    shape = (1, 4, 1, 1)
    return SLOPES.reshape(shape) * x, LOGVAR.reshape(shape).expand_as(x)


def decode_map(z):
    return (USED * SLOPES).reshape(1, 4, 1, 1) * z


@pytest.fixture(scope="module")
def mapped():
    return audit(encode=encode_map, decode=decode_map, data=maps())


def test_a_channel_holds_the_mean_over_places_of_what_each_place_holds(mapped):
    assert mapped.content["model"]["latent"] == "map"
    assert mapped.content["model"]["factors"] == 4
    for h, row in factors(mapped).items():
        assert row["mi"] == pytest.approx(TRUTH[h], abs=0.03)
    assert mapped.verdict.status == {0: "matters", 3: "ignored", 1: "matters", 2: "dead"}


def test_errors_of_a_channel_are_of_inputs_however_many_places_are_alike():
    """A map of fifteen equal places tells and errs as one of its places does."""
    x = inputs(300)
    same = x[:, :, None, None].expand(-1, -1, *GRID)
    wide = audit(encode=encode_map, decode=decode_map, data=same, tasks=[])
    one = audit(encode=encode_map, decode=decode_map, data=x[:, :, None, None], tasks=[])
    for h, row in factors(wide).items():
        assert row["mi"] == pytest.approx(factors(one)[h]["mi"], abs=1e-9)
        assert row["mi_stderr"] == pytest.approx(factors(one)[h]["mi_stderr"], abs=1e-9)


def test_what_is_the_same_for_all_inputs_at_a_place_is_no_information():
    """A bias of each place tells where it is, and nothing of x."""
    bias = torch.linspace(-5.0, 5.0, 15).reshape(1, 1, *GRID)

    def biased(x):
        mean, logvar = encode_map(x)
        return mean + bias, logvar

    found = audit(encode=biased, decode=lambda z: decode_map(z - bias), data=maps(), tasks=[])
    for h, row in factors(found).items():
        assert row["mi"] == pytest.approx(TRUTH[h], abs=0.03)


def test_some_places_stand_for_all(mapped):
    found = audit(
        encode=encode_map, decode=decode_map, data=maps(), tasks=[], options=Options(places=4)
    )
    assert factors(found)[0]["mi"] == pytest.approx(TRUTH[0], abs=0.03)
    assert "at each of 4 places p of 15" in found.content["notes"][0]


def test_tasks_that_read_single_numbers_are_not_asked_of_a_map_and_others_are(mapped):
    states = {name: task["state"] for name, task in mapped.content["tasks"].items()}
    assert states["influence"] == states["jacobian-columns"] == "not applicable"
    assert states["rates"] == states["reconstruction"] == "done"
    rate = mapped.content["tasks"]["rates"]["metrics"]["kl/z"]
    assert rate == pytest.approx(15 * sum(TRUTH), rel=0.1)
    assert "channels moved at all places" in mapped.figures


# Sequences --------------------------------------------------------------------------------------


def test_one_latent_a_frame_is_read_frame_by_frame_with_errors_of_sequences():
    x = inputs(600).reshape(100, 6, 4)
    found = audit(
        encode=lambda x: (SLOPES * x, LOGVAR.expand_as(x)), decode=decode, data=x,
        tasks=["rates", "influence", "reconstruction"],
    )  # fmt: skip
    assert found.content["model"]["latent"] == "frames"
    assert found.content["data"]["frames"] == 6
    for h, row in factors(found).items():
        assert row["mi"] == pytest.approx(TRUTH[h], abs=0.02)
    assert {task["state"] for task in found.content["tasks"].values()} == {"done"}
    metrics = found.content["tasks"]["influence"]["metrics"]
    assert set(metrics) >= {"mi/s per frame/0", "mi/pooled s/0"}


def test_frames_that_are_alike_are_saturated_at_the_number_of_their_sequences():
    x = inputs(20, 2)[:, None].expand(-1, 50, -1)
    found = audit(
        encode=lambda x: (x, torch.full_like(x, -14.0)), decode=lambda z: z, data=x, tasks=[]
    )
    for row in found.content["factors"]:
        assert row["mi"] == pytest.approx(math.log(20), abs=0.01)
        assert row["saturated"]
    saturation = found.content["saturation"]
    assert saturation["factors"] == [0, 1]
    assert saturation["ceiling_if_alike"] == pytest.approx(math.log(20))
    assert any("1 nats of the ln of the 20 sequences, 3" in note for note in found.content["notes"])
    assert "or of the ln of the sequences, 3, where frames of one may be alike" in found.html()


def test_frames_far_below_the_number_of_their_sequences_are_not_saturated():
    found = audit(
        encode=lambda x: (SLOPES * x, LOGVAR.expand_as(x)), decode=decode,
        data=inputs(600).reshape(100, 6, 4), tasks=[],
    )  # fmt: skip
    assert found.content["saturation"]["factors"] == []
    assert not any("of the ln of the" in note for note in found.content["notes"])


def test_of_two_inputs_not_every_factor_is_saturated():
    found = audit(
        encode=lambda x: (torch.stack([5.0 * x[:, 0], 0.0 * x[:, 1]], 1), torch.zeros_like(x)),
        decode=lambda z: z, data=torch.tensor([[1.0, 2.0], [-1.0, 1.0]]), tasks=[],
    )  # fmt: skip
    assert found.content["saturation"]["factors"] == [0]
    assert found.content["saturation"]["margin"] == pytest.approx(0.5 * math.log(2.0))


def test_one_latent_of_a_whole_sequence_is_a_vector():
    x = inputs(300)[:, None].expand(-1, 5, -1)
    found = audit(
        encode=lambda x: encode(x.mean(1)),
        decode=lambda z: decode(z)[:, None].expand(-1, 5, -1),
        data=x,
        tasks=["rates"],
    )
    assert found.content["model"]["latent"] == "vector"
    assert found.verdict.of("matters") == (0, 1)


# Agreement, determinism, and the model left alone ------------------------------------------------


def test_the_task_influence_agrees_with_the_audit():
    found = audit(encode=encode, decode=decode, data=X, part="test", tasks=["influence"])
    metrics = found.content["tasks"]["influence"]["metrics"]
    for h, row in factors(found).items():
        assert metrics[f"mi/z/{h}"] == pytest.approx(row["mi"], abs=1e-6)


def test_equal_seeds_give_equal_bytes_and_torchs_generator_is_left_alone(tmp_path):
    def noisy(x):
        return encode(x + 1e-6 * torch.randn_like(x))

    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    settings = {"encode": noisy, "decode": decode, "data": X, "tasks": ["rates"]}
    options = Options(posteriors=100, decoded=20)
    texts = [audit(**settings, options=options, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert texts[0].json() == texts[1].json() != texts[2].json()
    assert texts[0].html() == texts[1].html()


def test_a_module_is_used_in_evaluation_mode_and_left_as_it_was():
    model = Linear().train()
    model.dropout.eval()
    model.slopes.grad = torch.ones(4)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = audit(model=model, data=X, tasks=["rates", "jacobian-columns", "influence"])
    assert found.content["warnings"] == []
    assert found.verdict.of("matters") == (0, 1)
    assert (model.training, model.dropout.training) == (True, False)
    assert model.slopes.requires_grad
    assert torch.equal(model.slopes.grad, torch.ones(4))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_mode_is_put_back_when_the_audit_fails():
    model = Linear().train()
    model.decode = lambda z: z[:, :3]
    with pytest.raises(ValueError, match="decode"):
        audit(model=model, data=X)
    assert model.training
    assert model.dropout.training


def test_a_model_that_a_function_names_runs_in_evaluation_mode_too():
    model = Linear().train()
    found = audit(
        encode=lambda x: model.encode(x), decode=lambda z: model.decode(z), data=X, tasks=[]
    )
    assert found.content["warnings"] == []
    assert model.training


def test_one_batch_size_gives_what_another_does():
    sizes = [audit(encode=encode, decode=decode, data=X, tasks=[], options=Options(batch_size=b))
             for b in (7, 64)]  # fmt: skip
    one, two = (np.array([[row["mi"], row["effect"]] for row in found.content["factors"]])
                for found in sizes)  # fmt: skip
    assert one == pytest.approx(two, abs=1e-5)


# The record -------------------------------------------------------------------------------------


def test_the_record_is_plain_json_without_nan(found):
    assert json.loads(found.json()) == found.content
    assert "NaN" not in found.json()
    assert "Infinity" not in found.json()


def test_the_lines_are_where_the_options_draw_them():
    options = Options(rules=Rules(threshold=1.2, dead=0.7, tolerance=0.3))
    found = audit(encode=encode, decode=decode, data=X, tasks=[], options=options)
    assert found.verdict.status == {0: "matters", 3: "weak", 1: "weak", 2: "dead"}
    assert found.content["options"]["rules"]["threshold"] == 1.2
    assert found.content["verdict"]["keep"] == 1


def test_posteriors_beyond_the_pairs_lose_leave_one_out_and_that_is_said():
    found = audit(encode=encode, decode=decode, data=X, tasks=[], options=Options(pairs=10))
    assert factors(found)[0]["leave_one_out"] is None
    assert found.content["not_applicable"][0]["what"] == "leave-one-out"
    assert VARIANCES[2] == DEAD
