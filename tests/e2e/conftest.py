"""Fixtures of the whole line: the command line called in process, and one finished toy line."""

import pytest
from tests.e2e.commands import Done
from tests.lines import classifier_line

from shardline.cli import main


@pytest.fixture
def shardline(capfd):
    """The command line as a function: arguments in, exit code and both streams out."""

    def call(*arguments):
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return call


@pytest.fixture(scope="session")
def toy_line(ray_session, tmp_path_factory):
    """The spec file of a small line that was run up to the alias `production`; read only."""
    folder = tmp_path_factory.mktemp("toy-line")
    classifier_line(folder)
    spec = folder / "toy.yaml"
    often = ["--set", "train.checkpoint.every_steps=13"]
    assert main(["run", str(spec), "--set", "export.alias=production", *often]) == 0
    return spec
