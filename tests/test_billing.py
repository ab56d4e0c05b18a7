"""Who is billed: nobody without a price list, and never by example prices unless asked."""

import json

import pytest
import yaml
from click.testing import CliRunner
from preloaded import completed

from trim.cli.main import main
from trim.configuration.pricing import is_hosted
from trim.configuration.source import models_in, open_models
from trim.costs import Price, Prices
from trim.errors import InvalidInput

QUESTION = "Start with 47. 1) subtract 9. 2) last, add 17. What is the result?"
HOSTED = {"api": "openai", "continuation": "user_turn", "model": "m",
          "url": "https://api.example.invalid/v1"}  # fmt: skip
LOCAL = {**HOSTED, "url": "http://127.0.0.1:8000"}


def source(folder, **document):
    path = folder / "trim.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return open_models(path)


@pytest.mark.parametrize(
    ("url", "hosted"),
    [
        ("https://api.openai.com/v1", True),
        ("https://8.8.8.8/v1", True),
        ("http://api.openai.com/v1", False),
        ("https://127.0.0.1:8000", False),
        ("https://localhost", False),
        ("https://[::1]:8000", False),
        ("https://10.1.2.3/v1", False),
        ("https://192.168.0.7/v1", False),
        ("https://[fd00::1]/v1", False),
        ("https://gpu1:8000", False),
        ("https://vllm.lab.internal", False),
    ],
)
def test_an_api_is_hosted_outside_private_networks(url, hosted):
    assert is_hosted(url) is hosted


def test_models_of_this_process_and_of_private_servers_are_not_billed(tmp_path):
    for found in (models_in(), source(tmp_path, weak=LOCAL, strong=LOCAL)):
        assert found.price_list is None and found.unpriced == ()
        # A server's budgets in money need some price.
        assert found.prices == Prices()


def test_a_part_that_the_prices_do_not_name_is_free(tmp_path):
    found = source(tmp_path, weak=LOCAL, intermediate=[LOCAL, LOCAL], strong=HOSTED,
                   prices={"strong": {"output": 2}, "intermediate": [{"prompt": 1}]})  # fmt: skip
    free = Price()
    assert found.price_list == Prices(free, Price(output=2), free, (Price(1, 1), free))
    assert found.unpriced == ()


def test_prices_of_a_configuration_have_a_currency(tmp_path):
    given = {"strong": {"output": 2}, "currency": "EUR"}
    found = source(tmp_path, weak=LOCAL, strong=LOCAL, prices=given)
    assert found.prices.currency == "EUR" and found.prices.strong == Price(output=2)
    assert source(tmp_path, weak=LOCAL, strong=LOCAL, prices={"currency": "EUR"}).price_list is None
    with pytest.raises(InvalidInput, match=r"prices\.currency"):
        source(tmp_path, weak=LOCAL, strong=LOCAL, prices={"currency": "euro"})


def test_hosted_parts_without_prices_are_known(tmp_path):
    pooling = {"kind": "pooling", "url": HOSTED["url"], "model": "r", "template": "t"}
    found = source(tmp_path, weak=HOSTED, intermediate=[HOSTED], strong=HOSTED, scorer=pooling)
    assert found.unpriced == ("weak", "intermediate.0", "strong", "scorer")
    found = source(tmp_path, weak=LOCAL, strong=HOSTED, prices={"strong": {"output": 0}})
    assert found.unpriced == ()
    found = source(tmp_path, weak=HOSTED, strong=HOSTED, prices={"strong": {"output": 3}})
    assert found.unpriced == ("weak",)


def test_a_command_warns_of_a_hosted_model_without_prices(tmp_path):
    source(tmp_path, weak=LOCAL, strong=HOSTED)
    words = ["solve", "x", str(tmp_path / "trim.yaml"), "--policy", "weak"]
    result = CliRunner().invoke(main, [*words, "--set", "weak.attempts=1"])
    warning = result.stderr.splitlines()[0]
    assert warning.startswith("trim: warning: no price for strong on a hosted API")
    assert HOSTED["url"] not in warning


def test_money_is_shown_only_with_prices():
    plain = completed("solve", QUESTION)
    assert "Total: money not billed" in plain.stdout and "warning" not in plain.stderr
    assert "money 0.0" in completed("solve", QUESTION, "--prices", "example").stdout
    told = json.loads(completed("solve", QUESTION, "--json", "--prices", "example").stdout)
    assert told["money"] > 0


def test_an_evaluation_without_prices_shows_no_money(tmp_path):
    words = ("--policy", "weak", "--policy", "strong", "--policy", "thr:0.5", "--out")
    result = completed("eval", "chain", "-n", 2, *words, tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "Money is not billed" in result.stdout.splitlines()[-1]
    assert "money 0" not in result.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert {point["money_mean"] for point in summary["points"]} == {None}
    assert "no price list was given" in (tmp_path / "run" / "report.html").read_text("utf-8")
    # The tokens were counted all the same: another list of prices can be put on them.
    again = completed("eval", "chain", "-n", 2, *words, tmp_path / "run", "--prices", "example")
    assert again.returncode == 0, again.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert all(point["money_mean"] > 0 for point in summary["points"])


@pytest.mark.parametrize("command", ["eval", "collect"])
def test_a_limit_of_money_needs_prices(tmp_path, command):
    out = tmp_path / "run"
    result = completed(command, "chain", "-n", 2, "--max-money", 1, "--out", out)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "--max-money 1: needs prices; add --prices FILE" in line
    assert not out.exists()
    result = completed(command, "chain", "-n", 2, "--max-money", 1, "--out", out, "--prices",
                       "example")  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_a_collection_ends_at_money_of_its_own_prices(tmp_path):
    (tmp_path / "prices.json").write_text('{"weak": {"output": 1e6}}')
    result = completed("collect", "chain", "-n", 40, "--max-money", 1, "--prices",
                       tmp_path / "prices.json", "--out", tmp_path / "bank")  # fmt: skip
    assert result.returncode == 3, result.stderr
    assert "reached its cost limit" in result.stderr
