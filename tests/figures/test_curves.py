"""Curves of everything that training recorded."""

import json

from pyrodgm.figures.curves import recorded_curves


def test_every_number_has_a_panel(tmp_path):
    lines = [
        {"step": 1, "seconds": 0.1, "lr": 1e-3, "loss": 2.0, "critic_accuracy": 0.5},
        {"step": 2, "seconds": 0.2, "valid_loss": 1.5, "valid_spread": float("nan"), "best": True},
        {"step": 2, "valid_loss_sequence_weighted": 1.0, "score": None, "chosen_by": "nothing"},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    figure = recorded_curves(path, "loss")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "critic accuracy"]
    assert [len(ax.lines) for ax in figure.axes] == [2, 1]
    assert {line.get_marker() for ax in figure.axes for line in ax.lines} == {"o"}  # one point each
    path.write_text(json.dumps({"step": 1, "seconds": 0.1}))
    assert recorded_curves(path, "loss") is None
