"""Figures of training, read back from their axes."""

import json

import numpy as np
import pytest

from pyrodgm.figures.checks import guide_quality, learning_curve


@pytest.mark.parametrize(
    ("key", "label"),
    [("elbo_nats_per_frame", "lower bound"), ("nats_per_frame", "log-likelihood")],
)
def test_training_and_validation_are_shown_with_or_without_latents(tmp_path, key, label):
    path = tmp_path / "metrics.jsonl"
    records = [{"step": 1, key: -3.0}, {"step": 2, key: -2.0}]
    records.append({"step": 2, "valid_nats_per_frame": -2.5, "best": True})
    path.write_text("\n".join(map(json.dumps, records)))
    (ax,) = learning_curve(path, key).axes
    curves = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert curves["training batches"] == [-3.0, -2.0]
    assert curves["validation"] == [-2.5]
    assert label in ax.get_ylabel()


def test_where_tokens_are_held_out_the_best_is_marked_among_their_scores(tmp_path):
    path = tmp_path / "metrics.jsonl"
    scores = {"valid_nats_per_frame": -2.5, "valid_nats_per_held_out_token": -7.1}
    records = [{"step": 1, "elbo_nats_per_frame": -3.0}, {"step": 2, **scores, "best": True}]
    path.write_text("\n".join(map(json.dumps, records)))
    left, right = learning_curve(path, "elbo_nats_per_frame").axes
    assert not [line for line in left.get_lines() if "best" in str(line.get_label())]
    (best,) = [line for line in right.get_lines() if line.get_label() == "best, -7.10"]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [-7.1])


@pytest.mark.parametrize("by", ["pseudo-likelihood", "nothing"])
def test_numbers_of_any_objective_are_shown_by_their_names(tmp_path, by):
    """Those of validation have a picture of their own; where nothing chooses, none is the best."""
    path = tmp_path / "metrics.jsonl"
    records = [{"step": 1, "critic_loss": 0.5}, {"step": 2, "critic_loss": 0.4}]
    records.append({"step": 2, "valid_distance": 0.3, "chosen_by": by, "best": True})
    path.write_text("\n".join(map(json.dumps, records)))
    left, right = learning_curve(path, "critic_loss").axes
    assert [list(line.get_ydata()) for line in left.get_lines()] == [[0.5, 0.4]]
    assert (left.get_ylabel(), right.get_ylabel()) == ("critic loss", "distance")
    shown = [list(line.get_ydata()) for line in right.get_lines()]
    assert shown == ([[0.3]] if by == "nothing" else [[0.3], [0.3]])


def test_a_sequence_whose_weights_are_all_zero_is_drawn():
    rows, nan = np.arange(3), np.array([np.nan, 0.2, 0.4])
    figure = guide_quality(rows, nan, nan, np.array([np.inf, 0.1, 0.2]))
    assert figure.axes[1].get_ylim()[0] == pytest.approx(5.0)
