"""Worker processes: exact answers, limits that hold in C calls, and no harm to innocent candidates."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evoseg.evolve.evaluation import processes as supervision
from evoseg.evolve.evaluation.jobs import InProcess, Job, Outcome, Request
from evoseg.evolve.evaluation.processes import Processes, WorkerError, WorkerSettings
from evoseg.evolve.ports import Failed, Task
from evoseg.evolve.tasks.mask_task import BinaryTask
from tests.evolve import helpers
from tests.evolve.helpers import DelegatingTask, NastyTask, SlowTask, UnreadableTask, WhoTask, marking, pack, ramp

GOOD = [100, 50, 156, 200]
LIMIT_S = 1.0
REASONS = {
    helpers.EXITS: "its process died (exit code 3)",
    helpers.KILLED: "its process died (SIGKILL, as when memory runs out)",
    helpers.CRASHES: "its process died (SIGSEGV)",
    helpers.STUCK: "it used more than 2 s of CPU time",
}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(NastyTask(folder=str(tmp_path)), pack(ramp(), tmp_path), WorkerSettings(n_workers=1))
    yield made
    made.close()


def job(*marks: int, limit_s: float = LIMIT_S) -> Job:
    return Job(tuple(Request(marking(n)) for n in marks), (0,), limit_s)


def counts(outcome: Outcome) -> list[list[float] | str]:
    return [r.reason if isinstance(r, Failed) else r[0].tolist() for r in outcome.results]


def expected(*marks: int) -> list[list[float]]:
    return [r[0].tolist() for r in InProcess(BinaryTask(), ramp(), 0).run([job(*marks)])[0].results]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def cpu_of_children() -> float:
    """Return the CPU time of processes that have ended, s: what it took however busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def pids(processes: Processes) -> list[int]:
    return [worker._process.pid for worker in processes._workers]


def wait_for(path: Path, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never appeared"
        time.sleep(0.01)


def test_workers_give_the_answers_that_this_process_gives(processes):
    (outcome,) = processes.run([job(*GOOD)])
    assert counts(outcome) == expected(*GOOD)


def test_many_jobs_come_back_in_order(tmp_path):
    made = Processes(BinaryTask(), pack(ramp(), tmp_path), WorkerSettings(n_workers=2))
    jobs = [job(n, n + 1) for n in range(20, 60)]
    try:
        assert [counts(o) for o in made.run(jobs)] == [expected(n, n + 1) for n in range(20, 60)]
    finally:
        made.close()


def test_this_process_may_have_any_number_of_files_open(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]  # `select` knows no more than 1024
    try:
        made = Processes(BinaryTask(), pack(ramp(), tmp_path), WorkerSettings(n_workers=2))
        try:
            assert [counts(o) for o in made.run([job(20), job(30)])] == [expected(20), expected(30)]
        finally:
            made.close()
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_job_goes_to_the_worker_it_is_meant_for_and_else_to_an_idle_one(tmp_path):
    made = Processes(WhoTask(), pack(ramp(), tmp_path), WorkerSettings(n_workers=2))

    def who_did(*workers: int) -> list[float]:
        outcomes = made.run([replace(job(20 + n), worker=worker) for n, worker in enumerate(workers)])
        return [float(outcome.results[0][0, 0]) for outcome in outcomes]

    try:
        first, second = pids(made)
        assert who_did(1) == [second]
        assert who_did(1, 0) == [second, first]
        assert set(who_did(1, 1)) == {first, second}, "nobody waits while another is idle"
        assert len(who_did(7, 7, 7)) == 3, "nor for a worker that there is not"
    finally:
        made.close()


@pytest.mark.e2e
@pytest.mark.parametrize("nasty", [helpers.EXITS, helpers.KILLED, helpers.CRASHES, helpers.STUCK])
def test_a_candidate_that_takes_its_worker_along_fails_alone(processes, nasty):
    before, used = pids(processes), cpu_of_children()
    (outcome,) = processes.run([job(GOOD[0], GOOD[1], nasty, GOOD[2])])
    # Once together, once alone, and three starts; a limit that does not hold in C would never return.
    assert cpu_of_children() - used < 20
    first, second, failed, last = outcome.results
    assert isinstance(failed, Failed)
    assert failed.pipeline == marking(nasty)
    assert failed.transient
    assert failed.reason == REASONS[nasty]
    assert [r[0].tolist() for r in (first, second, last)] == expected(*GOOD[:3])
    assert pids(processes) != before
    assert not alive(before[0])
    assert counts(processes.run([job(*GOOD)])[0]) == expected(*GOOD)
    assert processes.n_given_up == 1


@pytest.mark.e2e
def test_a_stuck_candidate_is_stopped_soon_even_in_a_fresh_worker(processes):
    used = cpu_of_children()
    processes.run([job(helpers.STUCK)])
    # Three times the limit of 1 s and three starts of about 1 s; the limit of 60 s for starting must not be added.
    assert cpu_of_children() - used < 20


@pytest.mark.e2e
def test_what_a_stuck_candidate_has_started_ends_with_it(processes, tmp_path):
    processes.run([job(helpers.FORKS)])
    grandchild = int((tmp_path / "grandchild").read_text())
    deadline = time.monotonic() + 5
    while alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(grandchild)


def test_an_allocation_beyond_the_limit_fails_that_candidate_only(tmp_path):
    settings = WorkerSettings(n_workers=1, memory_bytes=2 << 30)
    made = Processes(NastyTask(), pack(ramp(), tmp_path), settings)
    try:
        (outcome,) = made.run([job(GOOD[0], helpers.HUGE, GOOD[1], limit_s=20)])
        assert made.n_given_up == 1
    finally:
        made.close()
    good, huge, also_good = outcome.results
    assert isinstance(huge, Failed)
    assert "Memory" in huge.reason
    assert [good[0].tolist(), also_good[0].tolist()] == expected(*GOOD[:2])


def test_a_candidate_that_raises_fails_with_its_traceback(processes):
    (outcome,) = processes.run([job(GOOD[0], helpers.RAISES)])
    good, failed = outcome.results
    assert good[0].tolist() == expected(GOOD[0])[0]
    assert failed.reason == "ZeroDivisionError: one of those days"
    assert "NastyTask" in failed.traceback or "judge" in failed.traceback
    assert processes.n_given_up == 0


def test_whatever_prints_does_not_get_between_the_frames(processes):
    (outcome,) = processes.run([job(GOOD[0], helpers.PRINTS, GOOD[1])])
    assert counts(outcome) == expected(GOOD[0], helpers.PRINTS, GOOD[1])


@pytest.mark.e2e
def test_innocent_jobs_in_other_workers_lose_nothing(tmp_path):
    made = Processes(NastyTask(folder=str(tmp_path)), pack(ramp(), tmp_path), WorkerSettings(n_workers=2))
    jobs = [job(helpers.STUCK, GOOD[0]), *(job(n) for n in GOOD), job(helpers.EXITS), *(job(n) for n in GOOD)]
    try:
        outcomes = made.run(jobs)
    finally:
        made.close()
    assert [counts(outcomes[i]) for i in (1, 2, 3, 4, 6, 7, 8, 9)] == [expected(n) for n in GOOD] * 2
    assert isinstance(outcomes[0].results[0], Failed)
    assert outcomes[0].results[1][0].tolist() == expected(GOOD[0])[0]
    assert isinstance(outcomes[5].results[0], Failed)


def test_a_worker_killed_from_outside_costs_nothing(processes):
    for _ in range(2):
        os.kill(pids(processes)[0], signal.SIGKILL)  # the second dies while it starts
        assert counts(processes.run([job(*GOOD)])[0]) == expected(*GOOD)
    assert processes.n_given_up == 0


def busy_with(folder: Path, task: Task, act: Callable[[int], None], limit_s: float = LIMIT_S) -> Processes:
    """Answer a job with one worker, whose process something is done to once it is at work; check the answer."""
    made = Processes(task, pack(ramp(), folder), WorkerSettings())

    def wait_and_act() -> None:
        wait_for(folder / "begun")
        act(pids(made)[0])

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        assert counts(made.run([job(GOOD[0], limit_s=limit_s)])[0]) == expected(GOOD[0])
    finally:
        thread.join()
        made.close()
    return made


def test_only_cpu_time_counts(tmp_path):
    made = busy_with(tmp_path, SlowTask(folder=str(tmp_path), seconds=0.0, sleeps=3.0), lambda pid: None, limit_s=0.2)
    assert made.n_replaced == 0


@pytest.mark.e2e
def test_a_worker_that_is_stopped_for_a_while_goes_on_as_if_nothing_had_happened(tmp_path):
    def stop(pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(3.0)
        os.kill(pid, signal.SIGCONT)

    assert busy_with(tmp_path, SlowTask(folder=str(tmp_path)), stop).n_replaced == 0


@pytest.mark.e2e
def test_a_worker_that_is_stopped_for_good_is_replaced_and_its_job_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "STALLED_S", 2.0)
    made = busy_with(tmp_path, SlowTask(folder=str(tmp_path)), lambda pid: os.kill(pid, signal.SIGSTOP))
    assert (made.n_replaced, made.n_given_up) == (1, 0)


@pytest.mark.e2e
def test_a_job_over_its_limit_gets_a_larger_one_alone(tmp_path):
    made = busy_with(tmp_path, SlowTask(folder=str(tmp_path), seconds=2.8), lambda pid: None, limit_s=1.5)
    assert (made.n_replaced, made.n_given_up) == (1, 0)


@pytest.mark.e2e
def test_a_candidate_that_waits_for_ever_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(supervision, "STALLED_S", 1.0)
    task = SlowTask(folder=str(tmp_path), seconds=0.0, sleeps=600.0)
    made = Processes(task, pack(ramp(), tmp_path), WorkerSettings())
    try:
        (outcome,) = made.run([job(GOOD[0])])
    finally:
        made.close()
    (failed,) = outcome.results
    assert failed.transient
    assert failed.reason == "it neither used CPU time nor gave an answer for 1 s"


@pytest.mark.e2e
def test_the_cpu_time_of_what_a_candidate_has_started_counts_too(tmp_path):
    made = Processes(DelegatingTask(), pack(ramp(), tmp_path), WorkerSettings())
    try:
        (outcome,) = made.run([job(GOOD[0])])
    finally:
        made.close()
    assert counts(outcome) == ["it used more than 2 s of CPU time"]


@pytest.mark.parametrize(("words", "seconds"), [("0:01.25", 1.25), ("00:02:03", 123.0), ("1-02:00:00", 93600.0)])
def test_the_words_of_ps_are_read(words, seconds):
    assert supervision._seconds(words) == seconds


def test_cpu_time_is_that_of_a_whole_process_group():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
    try:
        before = supervision.cpu_time(process.pid)
        end = time.monotonic() + 20
        while supervision.cpu_time(process.pid) == before:
            assert time.monotonic() < end
    finally:
        process.kill()
        process.wait()
    assert supervision.cpu_time(process.pid) == 0.0


def test_no_child_survives_close(processes):
    processes.run([job(*GOOD)])
    before = pids(processes)
    processes.close()
    processes.close()
    assert not any(map(alive, before))


def test_a_stuck_worker_does_not_survive_close(tmp_path):
    made = Processes(NastyTask(folder=str(tmp_path)), pack(ramp(), tmp_path), WorkerSettings(n_workers=1))
    before = pids(made)
    thread = threading.Thread(target=lambda: made._workers[0].send(job(helpers.STUCK, limit_s=60)))
    thread.start()
    wait_for(tmp_path / "stuck")
    thread.join()
    made.close()
    assert not any(map(alive, before))


@pytest.mark.e2e
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "stuck in a C call"])
def test_workers_end_when_their_parent_is_killed(tmp_path, busy):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from evoseg.evolve.evaluation.jobs import Job, Request; from evoseg.evolve.evaluation.processes import *\n"
        "from tests.evolve.helpers import STUCK, NastyTask, marking\n"
        "made = Processes(NastyTask(folder=sys.argv[2]), Path(sys.argv[1]), WorkerSettings(n_workers=2))\n"
        "print(*(w._process.pid for w in made._workers), flush=True)\n"
        "if sys.argv[3] == 'True': made.run([Job((Request(marking(STUCK)),), (0,), 600)])\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(pack(ramp(), tmp_path)), str(tmp_path), str(busy)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    if busy:
        wait_for(tmp_path / "stuck")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(children) == 2
    assert not any(map(alive, children))


@pytest.mark.e2e
@pytest.mark.parametrize("limit_s", [30.0, 0.4], ids=["in a job", "in a retry alone"])
def test_an_interrupt_leaves_no_stale_answers(tmp_path, limit_s):
    # An answer to what was asked before the interrupt must not pass for an answer to what is asked after it.
    begun = tmp_path / "begun"
    made = Processes(SlowTask(folder=str(tmp_path), seconds=1.0), pack(ramp(), tmp_path), WorkerSettings(n_workers=1))

    def interrupt() -> None:
        wait_for(begun)
        if limit_s < 1.0:  # the first attempt runs over its limit
            begun.unlink()
            wait_for(begun)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            made.run([job(GOOD[0], limit_s=limit_s)])
        thread.join()
        assert counts(made.run([job(GOOD[1], limit_s=30.0)])[0]) == expected(GOOD[1])
    finally:
        made.close()


def test_a_worker_that_cannot_start_is_an_error_and_not_a_bad_candidate(tmp_path, capfd):
    made = Processes(UnreadableTask(home=os.getpid()), pack(ramp(), tmp_path), WorkerSettings(n_workers=1))
    try:
        with pytest.raises(WorkerError, match="module that can be imported"):
            made.run([job(*GOOD)])
    finally:
        made.close()
    assert "somebodys_notebook" in capfd.readouterr().err


def test_workers_are_given_what_they_need_of_the_environment_and_nothing_else(tmp_path, monkeypatch):
    secrets = "OPENAI_API_KEY HF_TOKEN DATABASE_URL PGPASSWORD MYSQL_PWD DB_PASS SENTRY_DSN HTTPS_PROXY EVOSEG_KEY NOTE"
    for name in secrets.split():
        monkeypatch.setenv(name, "canary")
    for name in ("LC_ALL", "LD_LIBRARY_PATH", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path) if name == "TMPDIR" else "C")
    made = Processes(BinaryTask(), pack(ramp(), tmp_path), WorkerSettings(n_workers=1))
    try:
        made.run([job(100)])
        given = Path(f"/proc/{pids(made)[0]}/environ").read_bytes()
    finally:
        made.close()
    assert b"canary" not in given
    names = {pair.partition(b"=")[0].decode() for pair in given.split(b"\0")}
    assert {"PATH", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "PYTHONPATH", "OMP_NUM_THREADS"} <= names
    assert not names & set(secrets.split())


def test_results_are_float_arrays_with_one_row_per_image(processes):
    (outcome,) = processes.run([job(100)])
    (result,) = outcome.results
    assert (result.dtype, result.shape) == (np.float64, (1, 4))
