"""Log lines and progress: readable on a terminal, in a log file, and from one process only."""

import logging
import time

from minigpt4.common import logger as module
from minigpt4.common.logger import progress, setup_logging, warn_once

log = logging.getLogger("minigpt4.somewhere")


def test_console_shows_plain_messages_and_names_warnings(capsys):
    setup_logging()
    log.info("màu đỏ")
    log.warning("too deep")
    log.debug("details")
    captured = capsys.readouterr()
    assert captured.err == "màu đỏ\nwarning: too deep\n"
    assert captured.out == ""


def test_file_gets_the_same_lines_with_times_and_setting_up_again_adds_none(tmp_path, capsys):
    setup_logging()
    setup_logging(log_file=tmp_path / "log")
    log.info("màu đỏ")
    assert capsys.readouterr().err == "màu đỏ\n"
    (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
    assert line.endswith("INFO minigpt4.somewhere: màu đỏ")


def test_other_processes_only_warn(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("RANK", "1")
    setup_logging(log_file=tmp_path / "log")
    log.info("quiet")
    log.warning("loud")
    assert capsys.readouterr().err == "warning: loud\n"
    assert not (tmp_path / "log").exists()


def test_warning_once(caplog):
    for _ in range(3):
        warn_once(log, "only this once")
    assert caplog.text.count("only this once") == 1


def test_progress_yields_everything_and_is_silent_when_quick(capsys):
    assert list(progress(range(5), desc="x")) == [0, 1, 2, 3, 4]
    with progress(total=3) as bar:
        bar.update(3)
        bar.set_postfix(loss=0.5)
    assert capsys.readouterr() == ("", "")


def test_progress_without_a_terminal_is_log_lines(monkeypatch, caplog):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.05)
    caplog.set_level(logging.INFO, logger="minigpt4")
    bar = progress(range(20), desc="encode")
    for _ in bar:
        time.sleep(0.01)
        bar.set_postfix(loss=0.5, refresh=False)
    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) <= 8
    assert len({line.split(" [")[0] for line in lines}) == len(lines)
    assert all(line.startswith("encode: ") and "/20 [" in line for line in lines)
    assert any("loss=0.5" in line and "it/s" in line for line in lines)
    assert not any("\r" in line for line in lines)


def test_progress_of_unknown_length(monkeypatch, caplog):
    monkeypatch.setattr(module, "LINE_SECONDS", 0.02)
    caplog.set_level(logging.INFO, logger="minigpt4")
    for _ in progress((time.sleep(0.01) for _ in range(8)), desc="read"):
        pass
    assert caplog.records
    assert caplog.records[0].getMessage().startswith("read: ")


def test_only_the_main_process_shows_progress(monkeypatch, caplog):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setattr(module, "LINE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger="minigpt4")
    assert len(list(progress(range(5)))) == 5
    assert not caplog.records


def test_progress_on_a_terminal_is_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert len(list(progress(range(3), desc="encode"))) == 3
    assert "encode: 100%" in capsys.readouterr().err
