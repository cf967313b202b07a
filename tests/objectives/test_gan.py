"""Games of a generator: optima that are known, penalties, labels, bits, resume, two processes."""

import itertools

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import pyrodgm as dgm
from killing import Killed, Killer, assert_same_run
from oracles import assert_mean, gradient, sample_gradients
from processes import fit_or_resume, together
from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import ChainWarning, UsageError
from pyrodgm.guides import NoGuide
from pyrodgm.models import FeedForwardGenerator, Generator
from pyrodgm.objectives import FGAN, GAN, WGAN
from pyrodgm.objectives.f_gan import ESTIMATE
from pyrodgm.objectives.game import ACCURACY
from pyrodgm.objectives.gan import ESTIMATE as JS
from pyrodgm.setup.options import FitOptions
from pyrodgm.train.devices import launch
from pyrodgm.train.loop import Training

LINE = DataInfo("line", "real", 1, (0.0,), 1.0, 1, (1.0,))
CLASSES = ("0", "1", "2")
PICTURES = DataInfo(
    "toy", "binary", 9, (0.3,) * 9, 1.0, 1, image_shape=(3, 3), classes=CLASSES,
    condition_mean=(1 / 3,) * 3, condition_std=(0.47,) * 3,
)  # fmt: skip
DATA, DRAWS = Normal(0.5, 0.9), Normal(0.0, 1.0)
N = 20_000
QUANTILES = (torch.arange(N, dtype=torch.float64) + 0.5) / N


class Fixed(Generator):
    """Always the same points, which are learnt."""

    def __init__(self, info, points):
        super().__init__(info, noise_dim=1)
        self.points = nn.Parameter(points)

    def generate(self, noise, batch):
        return self.points[: batch.size, None] + 0 * noise


class Quadratic(nn.Module):
    """x and x^2 beside each other."""

    def forward(self, x):
        return torch.cat([x, x * x], -1)


def objective(kind, model, **options):
    return kind(model, NoGuide(model), **options)


def fitted(divergence):
    """A game of two normal distributions, with the best critic that is quadratic."""
    draws = DRAWS.icdf(QUANTILES)[torch.randperm(N, generator=torch.Generator().manual_seed(0))]
    made = objective(FGAN, Fixed(LINE, draws[:, None]), divergence=divergence).double()
    made.critic.network = nn.Sequential(Quadratic(), nn.Linear(2, 1).double())
    nn.init.zeros_(made.critic.network[1].weight)
    nn.init.zeros_(made.critic.network[1].bias)
    batch = Batch.of(DATA.icdf(QUANTILES)[:, None, None])
    optimizer = torch.optim.LBFGS(
        made.critic.parameters(), max_iter=100, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        loss = made.critic_loss(batch).surrogate
        loss.backward()
        return loss

    optimizer.step(closure)
    return made, batch


def exact(divergence, x):
    """The integrand of a divergence, at points x in double precision."""
    log_p, log_q = (each.log_prob(x) for each in (DATA, DRAWS))
    p, q, u = log_p.exp(), log_q.exp(), (log_p - log_q).exp()
    return {
        "kl": p * u.log(),
        "reverse-kl": -q * u.log(),
        "js": 0.5 * (p * (2 * p / (p + q)).log() + q * (2 * q / (p + q)).log()),
        "pearson": (p - q) ** 2 / q,
        "hellinger": (p.sqrt() - q.sqrt()) ** 2,
        "gan": p * (p / (p + q)).log() + q * (q / (p + q)).log(),
    }[divergence]


class Noise(Generator):
    """A standard normal variable."""

    def __init__(self, info):
        super().__init__(info, noise_dim=1)
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def generate(self, noise, batch):
        return self.weight * noise.double()


def test_draws_revised_by_the_log_ratio_have_the_distribution_of_the_data():
    torch.manual_seed(0)
    game = objective(GAN, Noise(LINE))

    def log_ratio(x, batch):
        return (DATA.log_prob(x) - DRAWS.log_prob(x))[..., 0]

    game.critic.forward = log_ratio
    batch = Batch.of(torch.zeros(N, 1, 1).double())
    distance = {}
    for name, draw in game.samplers().items():
        x = draw(batch).detach().flatten().sort().values
        distance[name] = float((DATA.cdf(x) - QUANTILES).abs().max())
    # Kolmogorov-Smirnov: beyond 1.95 / sqrt N once in a thousand.
    assert distance["revised"] < 1.95 / N**0.5 < 0.1 < distance["draws"]
    assert not objective(WGAN, Noise(LINE)).samplers()


def test_a_sure_critic_is_named_where_it_revises():
    game = objective(GAN, Noise(LINE))
    game.critic.forward = lambda x, batch: 1e4 * x[..., 0]
    with pytest.warns(ChainWarning, match="accepted by the critic"):
        game.revised(Batch.of(torch.zeros(500, 1, 1).double()))


@pytest.mark.parametrize("name", ["kl", "reverse-kl", "js", "pearson", "hellinger", "gan"])
def test_the_best_critic_finds_the_divergence_and_is_the_log_ratio(name):
    made, batch = fitted(name)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    value = float(torch.trapezoid(exact(name, grid), grid))
    found = float(made.critic_loss(batch).report[ESTIMATE])
    assert found == pytest.approx(value, rel=0.05)
    middle = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None, None]
    ratio = (DATA.log_prob(middle) - DRAWS.log_prob(middle)).squeeze(-1)
    torch.testing.assert_close(made.critic(middle, batch), ratio, atol=0.05, rtol=0)


def test_the_losses_of_a_gan_are_those_of_the_reference():
    torch.manual_seed(0)
    points = torch.randn(8, 1)
    batch = Batch.of(torch.randn(8, 1, 1))
    made = {
        loss: objective(GAN, Fixed(LINE, points), generator_loss=loss, critic_dim=4)
        for loss in ("logd", "minimax")
    }
    made["minimax"].load_state_dict(made["logd"].state_dict())
    gan = made["logd"]
    d, d_draws = (gan.critic(x, batch).sigmoid() for x in (batch.x, points[:, None]))
    value = d.log().mean() + (1 - d_draws).log().mean()
    loss = gan.critic_loss(batch)
    torch.testing.assert_close(loss.surrogate, -value)
    torch.testing.assert_close(loss.report[JS], ((value + torch.tensor(4.0).log()) / 2).detach())
    right = 0.5 * ((d > 0.5).float().mean() + (d_draws < 0.5).float().mean())
    torch.testing.assert_close(loss.report[ACCURACY], right)
    torch.testing.assert_close(gan.generator_loss(batch).surrogate, -d_draws.log().mean())
    minimax = made["minimax"].generator_loss(batch).surrogate
    torch.testing.assert_close(minimax, (1 - d_draws).log().mean())


def labelled(rows=4):
    conditions = torch.eye(3, dtype=torch.float64)[torch.arange(rows) % 3]
    x = (torch.rand(rows, 1, 9, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    return Batch.of(x, conditions[:, None])


CRITICS = [
    {"critic": network, "labels": labels}
    for network, labels in (
        ("dense", "concat"),
        ("dense", "projection"),
        ("dense", "auxiliary"),
        ((2, 3), "concat"),
        ("attention", "projection"),
    )
]


CRITICS = [{"bound": "penalty", **each} for each in CRITICS]
CRITICS += [{**each, "bound": "zero-centred"} for each in (CRITICS[0], CRITICS[-1])]


@pytest.mark.parametrize("options", CRITICS, ids=lambda o: "-".join(map(str, o.values())))
def test_the_gradient_of_every_critic_with_its_penalty_is_that_of_finite_differences(options):
    torch.manual_seed(2)
    model = FeedForwardGenerator(PICTURES, noise_dim=2, hidden_dim=3)
    made = objective(GAN, model, critic_dim=3, **options).double()
    if made.critic.maps is not None and options["critic"] == "attention":
        nn.init.constant_(made.critic.maps.layers[2].weight, 0.7)
    batch = labelled()

    def loss():
        torch.manual_seed(0)
        return made.critic_loss(batch).surrogate

    parameters = list(made.critic.parameters())
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum(
        float((g * d).sum())
        for g, d in zip(torch.autograd.grad(loss(), parameters), direction, strict=True)
    )
    found, h = [], 1e-6
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.add_(sign * h * d)
        found.append(float(loss().detach()))
        with torch.no_grad():
            for p, d in zip(parameters, direction, strict=True):
                p.sub_(sign * h * d)
    assert (found[0] - found[1]) / (2 * h) == pytest.approx(slope, rel=1e-5)


def test_the_critic_sees_the_label_and_the_generator_draws_by_it():
    torch.manual_seed(3)
    model = FeedForwardGenerator(PICTURES, noise_dim=2, hidden_dim=3).double()
    batch = labelled(3)
    other = Batch.of(batch.x, batch.conditions.roll(1, 0))
    noise = model.noise(batch)
    assert not torch.equal(model.relaxed(noise, batch), model.relaxed(noise, other))
    for options in CRITICS:
        critic = objective(GAN, model, critic_dim=3, **options).critic.double()
        same = torch.equal(critic(batch.x, batch), critic(batch.x, other))
        assert same == (options["labels"] == "auxiliary")
    classes = critic_of_classes(model, batch)
    torch.testing.assert_close(classes.exp().sum(0), torch.ones(3, 1).double())
    plain = DataInfo("line", "real", 1, (0.0,), 1.0, 1, (1.0,))
    for labels in ("projection", "auxiliary"):
        with pytest.raises(UsageError, match="has no labels"):
            objective(GAN, FeedForwardGenerator(plain), labels=labels)


def critic_of_classes(model, batch):
    """The log-probabilities of all classes for every row."""
    critic = objective(GAN, model, critic_dim=3, labels="auxiliary").critic.double()
    each = [torch.eye(3).double()[c].expand(3, 1, 3) for c in range(3)]
    return torch.stack([critic.log_class(batch.x, Batch.of(batch.x, c)) for c in each])


def of_bits(**options):
    """A generator of three bits whose logits do not depend on noise, against a critic."""
    torch.manual_seed(4)
    info = DataInfo("bits", "binary", 3, (0.4, 0.5, 0.6), 1.0, 1)
    model = FeedForwardGenerator(info, noise_dim=1, hidden_dim=2)
    made = objective(GAN, model, critic_dim=4, **options).double()
    for name, parameter in made.named_parameters():
        nn.init.normal_(parameter, std=0.0 if name == "model.network.0.weight" else 1.0)
    return made, list(model.network[2].parameters())


def test_the_score_function_has_the_exact_gradient_and_relaxed_bits_do_not():
    made, parameters = of_bits(bits="score")
    one = Batch.of(torch.zeros(1, 1, 3, dtype=torch.float64))
    noise = torch.zeros(1, 1, made.model.noise_dim, dtype=torch.float64)
    exact = sum(
        made.model.log_prob(x, noise, one).exp() * made.divergence.first(made.critic(x, one))
        for bits in itertools.product((0.0, 1.0), repeat=3)
        for x in [torch.tensor(bits, dtype=torch.float64).expand(1, 1, 3)]
    )
    exact = gradient(exact.sum(), parameters)
    many = Batch.of(torch.zeros(2000, 1, 3, dtype=torch.float64))
    assert_mean(
        sample_gradients(lambda: -made.generator_loss(many).surrogate, parameters, calls=40), exact
    )
    for bits in ("relaxed", "straight-through"):
        biased, own = of_bits(bits=bits)
        samples = sample_gradients(
            lambda made=biased: -made.generator_loss(many).surrogate, own, calls=40
        )
        with pytest.raises(AssertionError):
            assert_mean(samples, exact)


def test_draws_are_bits_with_the_probabilities_of_their_logits():
    made, _ = of_bits()
    batch = Batch.of(torch.zeros(20_000, 1, 3, dtype=torch.float64))
    drawn = made.model.draw(batch)[0].detach()
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    noise = torch.zeros(1, 1, 1, dtype=torch.float64)
    assert_mean(drawn[:, 0], made.model.computed(noise, batch).detach().sigmoid().flatten())
    assert torch.equal(made.draws(batch).detach().unique(), torch.tensor([0.0, 1.0]).double())
    relaxed, _ = of_bits(bits="relaxed", temperature="linear:1:0.5:10")
    assert len(relaxed.draws(batch).unique()) > 1000
    with pytest.raises(UsageError, match="draws of FeedForwardGenerator are no bits"):
        objective(GAN, FeedForwardGenerator(LINE), bits="score")
    with pytest.raises(UsageError, match="no draws of FeedForwardGenerator are relaxed bits"):
        objective(GAN, FeedForwardGenerator(LINE), temperature=0.5)
    with pytest.raises(UsageError, match="leave objective"):
        of_bits(bits="score", temperature="linear:1:0.5:10")


def tiny(kind, splits, **options):
    torch.manual_seed(0)
    model = FeedForwardGenerator(splits.info, noise_dim=1, hidden_dim=4)
    return objective(kind, model, critic_dim=4, **options)


def points():
    return dgm.data.load("gmm5", num_train=40, num_valid=30, num_test=8)


FITTING = {"steps": 4, "evaluate_every": 2, "batch_size": 8, "device": "cpu"}
GAMES = [
    (GAN, {"bound": "spectral", "critic_steps": 2, "critic_lr": 0.01}),
    (FGAN, {"divergence": "hellinger", "generator_loss": "direct", "bound": "clip"}),
]


@pytest.mark.parametrize(("kind", "options"), GAMES)
def test_killed_and_resumed(kind, options, tmp_path):
    splits = points()
    dgm.fit(tiny(kind, splits, **options), splits, out=tmp_path / "whole", **FITTING)
    with pytest.raises(Killed):
        dgm.fit(
            tiny(kind, splits, **options),
            splits, out=tmp_path / "killed", watcher=Killer(3), **FITTING,
        )  # fmt: skip
    dgm.resume(tmp_path / "killed", objective=tiny(kind, splits, **options), splits=splits)
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


def test_averaged_weights_are_evaluated_and_the_game_goes_on_with_the_others():
    splits = points()
    plain, averaged = (
        Training(tiny(WGAN, splits), splits, options, launch(options))
        for options in (FitOptions(**FITTING, averaging=0.0), FitOptions(**FITTING, averaging=0.9))
    )
    for training in (plain, averaged):
        list(training.steps())
    for one, two in zip(plain.objective.parameters(), averaged.objective.parameters(), strict=True):
        assert torch.equal(one, two)
    kept = dict(averaged.average.module.named_parameters())
    assert {name.split(".")[0] for name in kept} == {"model"}
    assert plain.validate().numbers != averaged.validate().numbers


def test_two_processes_play_the_same_game(tmp_path):
    values = {
        "model": {"name": "generator", "hidden_dim": 4},
        "objective": {"name": "f-gan", "divergence": "js", "critic_dim": 4},
        "data": {"num_train": 40},
        "fit": {**FITTING, "devices": 2},
    }
    assert together(fit_or_resume, values, tmp_path / "run") == [True, True]
