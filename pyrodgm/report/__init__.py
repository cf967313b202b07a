"""What did a run come to, on one page? A self-contained HTML file that opens offline."""

from pyrodgm.report.page import write_report

__all__ = ["write_report"]
