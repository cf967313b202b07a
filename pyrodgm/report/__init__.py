"""The report of a run: a self-contained HTML file that opens offline."""

from pyrodgm.report.page import write_report

__all__ = ["write_report"]
