"""Random fields with an exclusive generator: exact gradients by enumeration and in closed form."""

import math

import pytest
import torch
from small_fields import BITS, REAL, STATES, WEIGHT, Bowl, Pairs, generator, ragged
from torch import nn

from oracles import assert_mean, gradient, sample_gradients
from pyrodgm.batch import Batch
from pyrodgm.data import load
from pyrodgm.errors import CompatibilityError
from pyrodgm.guides import GeneratorGuide, NADEGuide, VAEGuide
from pyrodgm.models import RandomField
from pyrodgm.networks.mlp import FrameNorm
from pyrodgm.objectives import ExclusiveNRF
from pyrodgm.objectives.entropy import batch_norm_entropy, nearest_neighbour_entropy
from pyrodgm.setup import compat
from variants import randomised


def exact_target(objective, log_q, entropy, batch):
    """Data's potential minus that of the guide's draws; then theirs, and the entropy, by phi."""
    model, q = objective.model, log_q.exp()
    phi = model.potential(STATES, batch)
    own = (model.potential(batch.x, batch) * batch.mask).sum() / 3
    frames = 2  # per sequence
    field = own - frames * (q.detach() * phi).sum()
    return field + frames * ((q * phi.detach()).sum() + entropy)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_mean_gradients_with_a_density_are_exact(weight):
    torch.manual_seed(0)
    model, batch = Pairs(BITS), ragged()
    guide = randomised(NADEGuide(model, hidden_dim=5), std=0.5)
    objective = ExclusiveNRF(model, guide, entropy_weight=weight).double()
    assert objective.entropy == "density"
    log_q = guide.log_prob(STATES[:, None], Batch.of(STATES[:, None]))[:, 0]
    entropy = -weight * (log_q.exp() * log_q).sum()
    exact = exact_target(objective, log_q, entropy, batch)
    many = Batch(batch.x.repeat(50, 1, 1), batch.mask.repeat(50, 1), torch.arange(150))
    parameters = [*model.parameters(), *guide.parameters()]
    samples = sample_gradients(lambda: -objective(many).surrogate, parameters, 250)
    assert_mean(samples, gradient(exact, parameters))


def test_mean_gradients_of_bits_of_a_generator_are_those_of_the_bound():
    """With H(x | h) in the place of the entropy; sums over noise by a grid."""
    torch.manual_seed(1)
    model, batch = Pairs(BITS), ragged()
    guide = GeneratorGuide(model, noise_dim=1).double()
    guide.program.network = randomised(nn.Sequential(nn.Linear(1, 4)), std=0.8)
    objective = ExclusiveNRF(model, guide).double()
    assert objective.entropy == "conditional"
    h = torch.linspace(-6, 6, 401).double()[:, None]
    shares = (-0.5 * h[:, 0].square()).softmax(0)
    bits = torch.distributions.Bernoulli(logits=guide.program.computed(h[:, None], ragged())[:, 0])
    q = (shares[:, None] * bits.log_prob(STATES[:, None]).sum(-1).T.exp()).sum(0)
    entropy = (shares * bits.entropy().sum(-1)).sum()
    assert entropy < -(q * q.log()).sum()  # a lower bound
    exact = exact_target(objective, q.log(), entropy, batch)
    many = Batch(batch.x.repeat(50, 1, 1), batch.mask.repeat(50, 1), torch.arange(150))
    parameters = [*model.parameters(), *guide.parameters()]
    samples = sample_gradients(lambda: -objective(many).surrogate, parameters, 300)
    assert_mean(samples, gradient(exact, parameters), power=0.1)


def test_the_mean_gradient_through_a_generator_is_that_of_the_potential():
    """A linear generator in a bowl: E phi = -lambda tr(W W' + s^2 I) / 2, in closed form."""
    torch.manual_seed(2)
    model = Bowl(REAL)
    guide = generator(model, WEIGHT)
    objective = ExclusiveNRF(model, guide, entropy_weight=1e-9)
    batch = Batch.of(torch.zeros(200, 1, 2).double())  # data at zero
    parameters = [guide.program.network[0].weight, model.precision]
    samples = sample_gradients(lambda: -objective(batch).surrogate, parameters, 400)
    by_field = 0.5 * (WEIGHT.square().sum() + 2 * 0.25)
    assert_mean(samples, torch.cat([-1.5 * WEIGHT.flatten(), by_field[None]]))


def test_the_nearest_neighbour_entropy_of_a_normal_distribution():
    """Its closed form, log sqrt((2 pi e)^D |S|), from 60 sets of 1000 draws."""
    torch.manual_seed(3)
    root = torch.tensor([[1.5, 0.0], [0.7, 0.3]]).double()
    exact = math.log(2 * math.pi * math.e) + float(root.logdet())
    draws = torch.randn(60, 1000, 2).double() @ root.T
    assert_mean(torch.stack([nearest_neighbour_entropy(x) for x in draws]), exact)


def test_the_nearest_neighbour_entropy_grows_by_one_nat_per_dimension_and_log_scale():
    torch.manual_seed(4)
    log_scale = torch.zeros((), dtype=torch.float64, requires_grad=True)
    x = torch.randn(50, 3).double()
    (slope,) = torch.autograd.grad(nearest_neighbour_entropy(log_scale.exp() * x), log_scale)
    assert float(slope) == pytest.approx(3.0)
    assert nearest_neighbour_entropy(torch.zeros(4, 2)).isfinite()


def test_the_nearest_neighbour_entropy_does_not_depend_on_units():
    torch.manual_seed(4)
    x = torch.randn(50, 3).double()
    small = nearest_neighbour_entropy(1e-9 * x) - 3 * math.log(1e-9)
    torch.testing.assert_close(small, nearest_neighbour_entropy(x))


def test_the_entropy_of_batch_normalisation_is_that_of_independent_normals():
    """As printed: the sum over activations of half the log of 2 e pi gamma^2."""
    guide = GeneratorGuide(Bowl(REAL), hidden_dim=(3, 2), batch_norm=True)
    norms = [each for each in guide.modules() if isinstance(each, FrameNorm)]
    scales = [torch.tensor([0.5, 2.0, 1.0]), torch.tensor([3.0, 0.1])]
    with torch.no_grad():
        for norm, scale in zip(norms, scales, strict=True):
            norm.weight.copy_(scale)
    exact = torch.distributions.Normal(0.0, torch.cat(scales)).entropy().sum()
    torch.testing.assert_close(batch_norm_entropy(guide), exact)
    objective = ExclusiveNRF(Bowl(REAL), guide.double(), entropy="batch-norm").double()
    report = objective(Batch.of(torch.randn(20, 1, 2).double())).report
    assert float(report["batch_norm_entropy_nats_per_frame"]) == pytest.approx(float(exact))


def test_what_does_not_fit_is_refused_in_words():
    bits, real = Pairs(BITS), Bowl(REAL)
    with pytest.raises(CompatibilityError, match=r"batch_norm=true.*entropy=nearest-neighbour"):
        ExclusiveNRF(real, GeneratorGuide(real), entropy="batch-norm")
    with pytest.raises(CompatibilityError, match="entropy=conditional"):
        ExclusiveNRF(bits, GeneratorGuide(bits), entropy="nearest-neighbour")
    with pytest.raises(CompatibilityError, match="entropy=density"):
        ExclusiveNRF(bits, NADEGuide(bits), entropy="batch-norm")
    with pytest.raises(CompatibilityError, match="neither a density nor draws that carry"):
        compat.check(bits, VAEGuide(bits), ExclusiveNRF)
    with pytest.raises(CompatibilityError, match="not known"):
        ExclusiveNRF(bits, VAEGuide(bits))


def test_the_entropy_of_a_batch_of_one_row_has_a_gradient():
    torch.manual_seed(2)
    model = Bowl(REAL)
    objective = ExclusiveNRF(model, GeneratorGuide(model), entropy_weight=1e6).double()
    weight = objective.guide.program.network[-1].weight
    one = objective(Batch.of(torch.zeros(1, 1, 2).double())).surrogate
    gradient_of_weight = gradient(one, [weight])
    assert gradient_of_weight.abs().max() > 1e3  # of the entropy, by its weight


def test_the_likelihood_of_real_numbers_is_shown_and_does_not_choose_the_weights():
    splits = load("gmm32")
    model = RandomField(splits.info, hidden_dim=4)
    found = ExclusiveNRF(model, GeneratorGuide(model)).eval().validate(splits.valid)
    assert (found.score, found.by) == (None, "nothing")
    assert found.shown == ("nats_per_frame",)
    assert math.isfinite(found.numbers["nats_per_frame"])
