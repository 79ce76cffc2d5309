"""`auto` measures a machine once, keeps what it found, checks it, and never where results count."""

import threading
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ccenv.runs.commands.frame import program
from ccenv.sparse import calibration, machine_prices
from ccenv.sparse.cost_model import EIGHT, SIXTEEN, Factors, between, most_pairs
from ccenv.sparse.layer_costs import Layer
from ccenv.sparse.linear import block_sparse_linear
from ccenv.sparse.price_switch import shipped_prices, using
from ccenv.sparse.routes import explain_backend

LARGE, SMALL = Layer(512, 16, 32, 16, 32), Layer(8, 4, 8, 4, 8)
FOUND = (Factors(few=2.0, dense_many=0.5), Factors(turned=3.0))


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A cache of its own, and how often the machine was measured."""
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    monkeypatch.delenv("CCENV_CALIBRATE", raising=False)
    times = []

    def measured(threads):
        times.append(threads)
        return FOUND

    monkeypatch.setattr(machine_prices, "measured_apart", measured)
    machine_prices.forget_prices()
    yield times
    machine_prices.forget_prices()


def test_a_machine_is_measured_once_at_its_first_large_layer_told_and_read_again(asked, capsys):
    assert machine_prices.prices_for(SMALL) is None
    assert asked == []
    known = machine_prices.prices_for(LARGE)
    assert known.factors == FOUND
    assert "measuring" in capsys.readouterr().err
    machine_prices.forget_prices()
    assert machine_prices.prices_for(LARGE).factors == FOUND
    assert machine_prices.prices_for(SMALL) is None
    assert asked == [1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["bit", "empty", "zero", "infinite", "names"])
def test_a_damaged_file_is_told_and_measured_again(asked, capsys, damage, monkeypatch):
    path = machine_prices.price_file(1)
    spoiled = {"zero": 0.0, "infinite": np.inf}
    if damage in spoiled:
        wrong = (replace(FOUND[0], call=spoiled[damage]), FOUND[1])
        monkeypatch.setattr(machine_prices, "measured_apart", lambda _: wrong)
    machine_prices.prices_for(LARGE)
    monkeypatch.setattr(machine_prices, "measured_apart", lambda _: FOUND)
    if damage == "bit":
        content = bytearray(path.read_bytes())
        content[-5] ^= 16
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "names":
        machine_prices.write_arrays(path, {"factors": np.ones((2, 8))}, {"names": "[]"})
    machine_prices.forget_prices()
    assert machine_prices.prices_for(LARGE).factors == FOUND
    assert "measured anew" in capsys.readouterr().err
    machine_prices.forget_prices()
    assert machine_prices.prices_for(LARGE).factors == FOUND
    assert capsys.readouterr().err == ""


def test_what_cannot_be_kept_or_is_switched_off_is_not_measured(
    asked, capsys, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path / "file" / "cache"))
    assert machine_prices.prices_for(LARGE) is None
    assert "CCENV_CACHE" in capsys.readouterr().err
    monkeypatch.setenv("CCENV_CACHE", str(tmp_path))
    monkeypatch.setenv("CCENV_CALIBRATE", "0")
    machine_prices.forget_prices()
    assert machine_prices.prices_for(LARGE) is None
    assert asked == []


def test_programs_go_by_shipped_prices_unless_they_measure(asked):
    seen = []

    def main(arguments=None):
        seen.append(machine_prices.prices_for(LARGE))
        return 0

    program("ccenv trained")(main)()
    program("ccenv measured", measures=True)(main)()
    with shipped_prices():
        main()
    assert seen[0] is seen[2] is None
    assert seen[1].factors == FOUND


def test_threads_that_ask_at_once_have_it_measured_once(asked):
    threads = [threading.Thread(target=machine_prices.machine_prices, args=(1,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asked == [1]


def test_a_route_follows_the_prices_given_and_says_whose_they_are():
    x, weight, mask = torch.ones(64, 64), torch.ones(64, 64), torch.rand(64, 4) < 0.9
    mask[:4] = True
    slow = SIXTEEN.on((Factors(*[50.0] * 5), Factors()))
    found = {}
    for name, known in (
        ("kernels", SIXTEEN.on((Factors(*[0.02] * 5), Factors()))),
        ("dense", slow),
    ):
        with using(known):
            found[name] = explain_backend(x, weight, mask, mask)
            y = block_sparse_linear(x, weight, None, mask, mask)
        assert torch.equal(y, block_sparse_linear(x, weight, None, mask, mask, backend="reference"))
    assert (found["kernels"].route, found["dense"].route) == ("kernels", "masked_dense")
    assert all("on this machine" in choice.reason for choice in found.values())


@given(st.floats(0.1, 10.0), st.floats(0.1, 10.0), st.integers(1, 5000))
def test_a_factor_between_few_and_many_rows_is_between_theirs(few, many, batch):
    assert min(few, many) <= between(few, many, batch) * (1 + 1e-9)
    assert between(few, many, batch) <= max(few, many) * (1 + 1e-9)


@given(st.floats(0.1, 1.0), st.integers(1, 4096))
def test_caution_never_chooses_kernels_more_often(caution, batch):
    layer = Layer(batch, 16, 24, 16, 24)
    careful = SIXTEEN.on((Factors(), Factors()), caution)
    plain = most_pairs(layer, is_training=False, known=SIXTEEN)
    assert most_pairs(layer, is_training=False, known=careful) <= plain


FACTORS = st.lists(st.floats(0.5, 2.0), min_size=8, max_size=8).map(lambda f: Factors(*f))


@settings(max_examples=5)
@given(FACTORS, st.floats(0.3, 3.0), st.sampled_from([EIGHT, SIXTEEN]))
def test_the_fit_explains_times_that_factors_made(factors, speed, known):
    scaled = Factors(*(speed * found for found in astuple(factors)))
    scaled = replace(scaled, turned=factors.turned)
    truth = known.on((scaled, scaled))
    timed = []
    for probe in calibration.probes():
        row = calibration.Timed(probe, probe.density**2 * probe.layer.all_pairs)
        row.kernels, row.dense = calibration.expected(row, truth)
        timed.append(row)
    found = known.on(calibration.fit(timed, known))
    for row in timed:
        got, wanted = calibration.expected(row, found), (row.kernels, row.dense)
        if 1 / 3 < row.kernels / row.dense < 3:
            assert np.allclose(np.log(got), np.log(wanted), atol=0.35)


def test_measuring_times_every_probe_both_ways():
    timed = calibration.measure(seconds=0.0)
    assert [row.probe for row in timed] == calibration.probes()
    assert all(0 < row.kernels < 10 and 0 < row.dense < 10 and row.pairs > 0 for row in timed)
