"""The report of a scan: one summary, shown as JSON, as an HTML page and in the terminal."""

from watermark.detect.report.page import render_report
from watermark.detect.report.summary import ScanSummary
from watermark.detect.report.terminal import print_summary

__all__ = ["ScanSummary", "print_summary", "render_report"]
