"""Laws of what single systems are measured by: updates under way, pondering by difficulty."""

from ccenv.runs.lab.systems import concurrency, parity


def test_the_more_requests_are_under_way_the_less_is_off_for_all():
    rows = list(concurrency.measured((2, 16), images=64))
    shares = {(row["kind"], row["requests"]): row["share_off"] for row in rows}
    for kind in concurrency.LEGEND:
        assert 0 <= shares[kind, 16] < shares[kind, 2] < 1
    assert concurrency.concurrency_figure(rows).alt.startswith("inactive, 2 requests")


def test_pondering_is_told_for_each_number_of_entries():
    rows = list(parity.measured((0,), (0.02,), inputs=512))
    assert [row["entries"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(1 <= row["steps"] <= 6 and 0 <= row["error"] <= 1 for row in rows)
    assert parity.parity_figure(rows).alt.count("%") == 6
    assert parity.table(rows).count("0.02") == 1
