"""Models of pythae and diffusers, tiny ones made on the spot."""

import warnings

import pytest
import torch

from seqvae_audit import Options, audit
from seqvae_audit.adapters import Diffusers, Pythae, adapted
from seqvae_core.errors import ShapeError


@pytest.fixture(scope="module")
def pythae():
    """Return pythae's models; what they warn of as they are imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("pythae.models")


@pytest.fixture(scope="module")
def diffusers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = pytest.importorskip("diffusers")
        assert models.AutoencoderKL
        return models


def images(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vae(pythae):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return pythae.VAE(pythae.VAEConfig(input_dim=(1, 6, 6), latent_dim=3))


def test_a_vae_of_pythae_is_audited_as_it_is(vae):
    vae.train()
    found = audit(
        model=vae, data=images(60, 1, 6, 6), tasks=["rates", "reconstruction", "jacobian-columns"]
    )
    assert found.content["model"] | {"parameters": 0} == {
        "name": "VAE", "latent": "vector", "shape": [3], "factors": 3, "arrays": "torch",
        "type": "float32", "device": "cpu", "parameters": 0,
    }  # fmt: skip
    assert {task["state"] for task in found.content["tasks"].values()} == {"done"}
    assert vae.training


def test_what_an_audit_reads_of_pythae_are_its_encoders_own_numbers(vae):
    x = images(60, 1, 6, 6)
    found = audit(model=vae, data=x, tasks=[])
    vae.eval()
    with torch.no_grad():
        out = vae.encoder(x)
        mean, logvar = out.embedding, out.log_covariance
        made = vae.decoder(mean).reconstruction
    kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).double().mean(0)
    rows = {row["factor"]: row for row in found.content["factors"]}
    assert [rows[h]["kl"] for h in range(3)] == pytest.approx(kl.tolist(), abs=1e-6)
    error = float((made - x).square().mean())
    assert found.content["reconstruction"]["mse"] == pytest.approx(error, rel=1e-5)


def test_the_probe_of_a_model_of_pythae_is_compared_with_an_untrained_copy(vae):
    x = images(60, 1, 6, 6)
    labels = (x.mean((1, 2, 3)) > x.mean()).long()
    found = audit(model=vae, data={"x": x, "bright": labels}, tasks=["probe"])
    assert found.content["tasks"]["probe"]["state"] == "done"
    assert any("untrained" in name for name in found.content["tasks"]["probe"]["metrics"])


def test_models_of_pythae_without_a_gaussian_posterior_are_refused(pythae):
    plain = pythae.AE(pythae.AEConfig(input_dim=(1, 6, 6), latent_dim=3))
    with pytest.raises(ShapeError, match="the encoder of pythae's AE gives no log_covariance"):
        audit(model=plain, data=images(10, 1, 6, 6))
    flow = pythae.VAE_IAF(pythae.VAE_IAF_Config(input_dim=(1, 6, 6), latent_dim=3))
    with pytest.raises(ShapeError, match="VAE_IAF has a posterior that a flow makes"):
        audit(model=flow, data=images(10, 1, 6, 6))
    sphere = pythae.SVAE(pythae.SVAEConfig(input_dim=(1, 6, 6), latent_dim=3))
    with pytest.raises(ShapeError, match="SVAE has its latent on a curved space"):
        audit(model=sphere, data=images(10, 1, 6, 6))


@pytest.fixture(scope="module")
def kl(diffusers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.AutoencoderKL(
            in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(8, 16),
            latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=8,
        )  # fmt: skip


def test_an_autoencoder_of_diffusers_is_read_by_channel(kl):
    x = images(24, 3, 8, 8) * 2.0 - 1.0
    found = audit(model=kl, data=x, options=Options(decoded=8))
    assert found.content["model"]["latent"] == "map"
    assert found.content["model"]["shape"] == [4, 4, 4]
    assert len(found.content["factors"]) == 4
    with torch.no_grad():
        posterior = kl.eval().encode(x).latent_dist
        mean, logvar = posterior.mean, posterior.logvar
    expected = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).double().mean((0, 2, 3))
    rows = {row["factor"]: row for row in found.content["factors"]}
    assert [rows[h]["kl"] for h in range(4)] == pytest.approx(expected.tolist(), rel=1e-5)
    rate = found.content["tasks"]["rates"]["metrics"]["kl/z"]
    assert rate > 0.0
    assert found.content["tasks"]["influence"]["state"] == "not applicable"
    assert "<html" in found.html()
    assert "channels moved at all places" in found.figures


def test_an_autoencoder_of_diffusers_without_a_posterior_is_refused(diffusers):
    model = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    )  # fmt: skip
    with pytest.raises(ShapeError, match="AutoencoderTiny gives no Gaussian posterior"):
        audit(model=model, data=images(4, 3, 8, 8))


def test_models_of_neither_library_are_taken_as_they_are():
    module = torch.nn.Linear(2, 2)
    assert adapted(module) is module
    assert adapted(7) == 7


def test_the_adapters_are_chosen_by_where_a_models_class_comes_from(vae, kl):
    assert isinstance(adapted(vae), Pythae)
    assert isinstance(adapted(kl), Diffusers)
