import os
import signal
import threading

import numpy as np
import pytest
import torch

from mlc.metrics import blocks
from mlc.metrics.blocks import above, in_threads, label_slices, places, row_slices


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_are_in_the_order_of_the_items(threads):
    assert in_threads(lambda item: item**2, range(50)) == [item**2 for item in range(50)]
    assert in_threads(str, []) == []
    assert torch.get_num_threads() == threads


def test_as_many_threads_work_at_once_each_with_one_of_torchs(threads):
    together = threading.Barrier(threads, timeout=10)

    def meet(_):
        together.wait()
        return torch.get_num_threads()

    for _ in range(2):  # threads that are new, and threads that are kept
        assert in_threads(meet, range(threads)) == [1 if threads > 1 else torch.get_num_threads()] * threads


def test_no_thread_records_gradients(threads):
    weight = torch.ones(3, requires_grad=True)
    with torch.no_grad():
        assert not any(in_threads(lambda _: (weight * 2).requires_grad, range(8)))


def test_calls_within_calls_end(threads):
    inner = lambda item: in_threads(lambda other: other + item, range(3))  # noqa: E731
    assert in_threads(inner, range(6)) == [[item, item + 1, item + 2] for item in range(6)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_has_no_other_threads_and_ends_all_the_same():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        in_threads(abs, range(4))
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            os._exit(0 if in_threads(abs, range(4)) == [0, 1, 2, 3] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("bad", [0, 7])
def test_an_error_comes_through_and_leaves_everything_as_it_was(threads, bad):
    def fail(item):
        if item == bad:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_threads(fail, range(8))
    assert torch.get_num_threads() == threads
    assert in_threads(abs, range(4)) == [0, 1, 2, 3]


def test_slices_cover_everything_and_nothing_is_one_empty_slice(monkeypatch):
    monkeypatch.setattr(blocks, "CELLS", 40)
    values = torch.arange(210).view(30, 7)
    assert torch.cat([values[rows] for rows in row_slices(values)]).equal(values)
    assert {len(values[rows]) for rows in row_slices(values)} == {5}
    assert torch.cat([values[:, labels] for labels in label_slices(values)], dim=1).equal(values)
    for empty in (values[:0], values[:, :0]):
        assert [len(empty[rows]) for rows in row_slices(empty)] in ([0], [30])
        assert len(list(label_slices(empty))) == 1 + 6 * (empty.shape[1] > 0) * (len(empty) > 0)


def test_places_and_above_are_numpys():
    values = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    values[3] = torch.nan
    for part in (values, values.T, values[:, 1:4], values[:0]):
        larger = above(part, 0.5)
        assert larger.tolist() == (part.numpy() > 0.5).tolist()
        assert places(larger).tolist() == np.flatnonzero(part.numpy() > 0.5).tolist()
