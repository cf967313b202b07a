"""Can a fit be trusted? Guide and model checked together, with figures and a verdict in words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyrodgm.errors import UsageError
from pyrodgm.evaluate import diagnostics, plots, predictive
from pyrodgm.evaluate.bounds import importance_weights, latent_nats
from pyrodgm.evaluate.particles import beginning
from pyrodgm.evaluate.pictures import pictures
from pyrodgm.evaluate.posterior import bytes_per_draw, compact_tree, write_netcdf
from pyrodgm.evaluate.predict import expected_frames
from pyrodgm.files import replacing
from pyrodgm.guides import SequenceGuide
from pyrodgm.models import SequenceModel
from pyrodgm.run import Run

NAME = "check.json"
EXACT = "There is no guide to judge: the model has no latents, and its likelihood is exact."
GIVEN = {
    "posterior": "given the frames before and the guide's latents, which have seen the frame",
    "ancestral": "drawn from nothing",
}
POSTERIOR_BYTES = 256 * 2**20  # more draws than fit in here are not kept
FEWEST_DRAWS = 10
WORTHLESS = 0.01  # nats of a frame
WORK = 4e12  # draws x frames x parameters that importance weights may cost: a minute or two
FEWEST_SEQUENCES = 10
EXAMPLE_FRAMES = 64


@dataclass(frozen=True)
class Check:
    """What a check found.

    Args:
        checkpoint: whose weights were checked.
        split: on what.
        rows: of which sequences the guide was, (N,).
        draws: importance draws per sequence, K.
        posterior_draws: draws kept in posterior.nc, and replicates; fewer than asked for where
            they would take more than 256 MiB.
        verdict: whether the guide can be trusted, in words.
        k: Pareto k-hat of every sequence, (N,).
        efficiency: effective share of the draws, (N,), in (0, 1].
        gap: nats per frame that the guide is at least away from the posterior, (N,).
        latent_nats: what the latents tell of a frame, see `pyrodgm.evaluate.bounds.latent_nats`.
        p_values: Bayesian p-values by kind of replicate, "posterior" or "ancestral", and statistic.
        paths: the files written, by name.
    """

    checkpoint: str
    split: str
    rows: np.ndarray
    draws: int
    posterior_draws: int
    verdict: str
    k: np.ndarray
    efficiency: np.ndarray
    gap: np.ndarray
    latent_nats: float
    p_values: dict[str, dict[str, float]]
    paths: dict[str, Path]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; an infinite k-hat is null.

        Where ``exact`` is true there is no guide: k-hat and the gap are 0 and say nothing.
        """
        return {
            "checkpoint": self.checkpoint,
            "split": self.split,
            "draws": self.draws,
            "posterior_draws": self.posterior_draws,
            "verdict": self.verdict,
            "exact": self.verdict == EXACT,
            "trusted": int((self.k <= diagnostics.THRESHOLD).sum()),
            "examples": len(self.k),
            "rows": self.rows.tolist(),
            "k": _numbers(self.k),
            "efficiency": _numbers(self.efficiency),
            "gap_nats_per_frame": _numbers(self.gap),
            "latent_nats_per_frame": self.latent_nats,
            "p_values": self.p_values,
            "misfits": {kind: predictive.misfits(p) for kind, p in self.p_values.items()},
            "paths": {name: str(path) for name, path in self.paths.items()},
        }

    def text(self) -> str:
        """The findings as a person reads them."""
        lines = [
            f"Guide, on {len(self.rows)} sequences of the {self.split} split with {self.draws} "
            "draws each",
            f"  {self.verdict}",
        ]
        if self.verdict != EXACT:
            lines.append(
                f"  It is at least {self.gap.mean():.3f} nats per frame away from the posterior; "
                f"{100 * np.median(self.efficiency):.3g} % of the draws are effective (median)."
            )
            lines.append(f"  {latent_words(self.latent_nats)}")
        lines += [
            f"Model, by {self.posterior_draws} replicates of the data",
            *(f"  {self._misfit_words(kind)}" for kind in self.p_values),
            "Files",
            *(f"  {path}" for path in self.paths.values()),
        ]
        return "\n".join(lines)

    def _misfit_words(self, kind: str) -> str:
        """Which statistics the replicates of a kind miss."""
        alone = kind == "posterior" and self.verdict == EXACT
        given = "given the frames before" if alone else GIVEN[kind]
        p = self.p_values[kind]
        missed = predictive.misfits(p)
        if not missed:
            return f"{kind}, {given}: nothing misses the data"
        words = ", ".join(
            f"{100 * p[name]:.0f} % of {name} {where}"
            if name in predictive.SHARES
            else f"{name} {where} (p = {p[name]:.2f})"
            for name, where in missed.items()
        )
        return f"{kind}, {given}: {words}"


def check(
    run: Run,
    *,
    split: str = "test",
    draws: int = 1000,
    posterior_draws: int = 100,
    sequences: int | None = None,
    seed: int = 0,
) -> Check:
    """Check guide and model on a split; writes posterior.nc, figures and check.json.

    The guide is judged by its importance weights (`pyrodgm.evaluate.diagnostics`), the model by
    data drawn from it (`pyrodgm.evaluate.predictive`).

    Args:
        run: a fitted model and guide; the files go into its folder.
        split: whose sequences.
        draws: importance draws per sequence, K; a thousand or more.
        posterior_draws: draws per sequence to keep, and replicates of the split.
        sequences: on how many the guide is judged, spread evenly over the split; if not given, on
            as many as draws times frames times parameters allow, and on ten at least.
        seed: of all draws.

    Raises:
        UsageError: too few draws, no sequences, an unknown split, or a folder that cannot be
            written.
    """
    diagnostics.refuse_few(draws)
    rows = _judged(run, split, draws, sequences)
    judged = run.splits[split].select(rows)
    log_w = importance_weights(run.model, run.guide, judged, particles=draws, seed=seed)
    k, exact = diagnostics.pareto_k(log_w), run.model.traits.latents == "none"
    kept = _affordable(run, split, posterior_draws)
    figures = run.folder.path / "figures"
    figures.mkdir(exist_ok=True)
    paths = {"posterior": run.folder.path / "posterior.nc"}
    p_values = _check_model(run, split, kept, seed, paths)
    found = Check(
        checkpoint=run.folder.best().name,
        split=split,
        rows=rows,
        draws=draws,
        posterior_draws=kept,
        verdict=EXACT if exact else diagnostics.verdict(k, draws=draws, rows=rows),
        k=k,
        efficiency=diagnostics.effective_sample_size(log_w) / draws,
        gap=diagnostics.gap_per_frame(log_w, judged.lengths),
        latent_nats=latent_nats(run.model, run.guide, judged, seed=seed),
        p_values=p_values,
        paths=paths,
    )
    _draw_figures(run, found, seed)
    paths["check"] = run.folder.path / NAME
    with replacing(paths["check"]) as unfinished:
        unfinished.write_text(json.dumps(found.to_dict(), indent=2))
    return found


def last_check(run: Run, split: str) -> dict[str, Any] | None:
    """What the last check found, as `Check.to_dict`; None if not of these weights and this split.

    Args:
        run: a fitted model and guide.
        split: what must have been checked.
    """
    path = run.folder.path / NAME
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    same = found["split"] == split and found.get("checkpoint") == run.folder.best().name
    return found if same and "latent_nats_per_frame" in found else None


def _judged(run: Run, split: str, draws: int, wanted: int | None) -> np.ndarray:
    """Rows of the sequences that the guide is judged on."""
    sequences = run.splits[split]
    if wanted is None:
        size = sum(p.numel() for part in (run.model, run.guide) for p in part.parameters())
        each = draws * size * sequences.num_frames / len(sequences)
        wanted = max(FEWEST_SEQUENCES, int(WORK / each))
    if wanted < 1:
        raise UsageError(f"sequences is {wanted}; give at least 1")
    count = min(wanted, len(sequences))
    return np.arange(count) * len(sequences) // count


def _check_model(
    run: Run, split: str, draws: int, seed: int, paths: dict[str, Path]
) -> dict[str, dict[str, float]]:
    """Keep the draws, compare data with replicates, and draw that; the p-values."""
    tree = compact_tree(run.model, run.guide, run.splits, split=split, draws=draws, seed=seed)
    write_netcdf(tree, paths["posterior"])
    data = predictive.observed(run.splits, split, draws=draws, seed=seed)
    replicates = {"posterior": predictive.posterior_replicates(tree, run.splits)}
    if isinstance(run.model, SequenceModel):
        replicates["ancestral"] = predictive.prior_replicates(
            run.model, run.splits, split, draws=draws, seed=seed
        )
    p_values = {kind: predictive.p_values(data, drawn) for kind, drawn in replicates.items()}
    paths["predictive"] = run.folder.path / "figures" / "predictive.png"
    plots.save(plots.predictive_checks(data, replicates, p_values), paths["predictive"])
    return p_values


def _draw_figures(run: Run, found: Check, seed: int) -> None:
    """The other figures; their paths are added to the check's."""
    folder = run.folder.path / "figures"
    drawn = {}
    if found.verdict != EXACT:
        drawn["guide"] = plots.guide_quality(found.rows, found.k, found.efficiency, found.gap)
    if isinstance(run.model, SequenceModel) and isinstance(run.guide, SequenceGuide):
        example = run.splits[found.split].batch([0])
        example = beginning(example, example.lengths.clamp(max=EXAMPLE_FRAMES))
        expected = expected_frames(run.model, run.guide, example, seed=seed)[0]
        rows = {"observed": example.x[0].numpy(), "expected one\nframe before": expected.numpy()}
        drawn["example"] = pictures(rows, run.splits.info, f"{found.split} sequence 0")
    if run.folder.metrics.is_file():
        drawn["learning"] = plots.learning_curve(run.folder.metrics)
    for name, figure in drawn.items():
        found.paths[name] = folder / f"{name}.png"
        plots.save(figure, found.paths[name])


def _affordable(run: Run, split: str, draws: int) -> int:
    most = POSTERIOR_BYTES // bytes_per_draw(run.model, run.splits[split])
    return min(draws, max(FEWEST_DRAWS, most))


def latent_words(nats: float) -> str:
    """What the latents are worth, in a sentence."""
    told = f"The latents tell {nats:.3f} nats of a frame"
    if nats < WORTHLESS:
        return f"{told}, next to nothing: the guide may be right because nothing depends on it."
    return f"{told}, beyond what the model expects before it sees the frame."


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]
