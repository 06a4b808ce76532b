"""Break each rule that keeps a pool right, one after the other, and see a test fail: ``make broken-rules``.

A rule that no test guards is a hope. Each entry is a change to a copy of the library, and the test that must notice it.
`test_broken_rules.py` sees that the entries fit the code. Running them takes minutes, and is done by hand.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Break:
    """One way of breaking a rule: `old` is replaced by `new` in a function, and `test` has to fail."""

    rule: str
    how: str
    where: str  #: the function, as ``Class.method``: a move to another file costs nothing
    old: str
    new: str
    test: str

    def fits(self) -> bool:
        """Tell whether the function still says what is to be broken, just once."""
        return len(self._found()) == 1

    def _found(self) -> list[Function]:
        # the wings for threads and for event loops have classes of the same names
        return [function for function in FUNCTIONS.get(self.where, []) if function.source.count(self.old) == 1]

    def is_noticed(self) -> bool:
        """Break the rule in a copy, and run the test there; a test that hangs has noticed it, too."""
        with tempfile.TemporaryDirectory() as copy:
            for part in ("ProxyPatternPool", "tests", "examples", "pyproject.toml", "conftest.py"):
                source = ROOT / part
                (shutil.copytree if source.is_dir() else shutil.copy)(source, Path(copy, part))
            self._found()[0].change(Path(copy), self.old, self.new)
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-x",
                "-p",
                "no:cacheprovider",
                "--thorough",
                f"tests/{self.test}",
            ]
            try:
                result = subprocess.run(
                    command,
                    cwd=copy,
                    env={**os.environ, "PYTHONPATH": copy},
                    capture_output=True,
                    timeout=300,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return True
            if result.returncode not in (0, 1, 2):  # 2: interrupted, 1: failed; others mean that no test was run
                raise RuntimeError(f"{self.test} could not be run: {result.stdout.decode()}")
            return result.returncode != 0


@dataclass(frozen=True)
class Function:
    """The source of a function of the library."""

    path: Path  #: relative to the repository
    first: int  #: its first line, from 0
    source: str

    def change(self, root: Path, old: str, new: str) -> None:
        """Change it in a copy of the repository."""
        path = root / self.path
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        last = self.first + self.source.count("\n")
        path.write_text("".join([*lines[: self.first], self.source.replace(old, new), *lines[last:]]), encoding="utf-8")


def functions() -> dict[str, list[Function]]:
    """Return the functions of the library, by their qualified names."""
    found: dict[str, list[Function]] = {}
    for path in sorted((ROOT / "ProxyPatternPool").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines(keepends=True)
        pending: list[tuple[str, ast.AST]] = [("", ast.parse(text))]
        while pending:
            prefix, parent = pending.pop()
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    pending.append((f"{prefix}{node.name}.", node))
                    source = "".join(lines[node.lineno - 1 : node.end_lineno])
                    found.setdefault(prefix + node.name, []).append(
                        Function(path.relative_to(ROOT), node.lineno - 1, source)
                    )
    return found


FUNCTIONS = functions()

BREAKS = [
    Break(
        "size is the length of the registry",
        "objects being made or closed are not counted",
        "SlotTable._has_room",
        "not self.max_size or len(self.registry) < self.max_size",
        "not self.max_size or len(self.leased) + len(self.idle) < self.max_size",
        "threads/test_pool.py::test_nothing_is_in_use_but_the_place_is_taken",
    ),
    Break(
        "only a successful pop makes an owner",
        "a newcomer looks at the idle slot, and takes it out afterwards",
        "PoolMachine.take",
        "            slot = self.idle.pop()\n        except IndexError:\n            return None\n",
        "            slot = self.idle[-1]\n"
        "            self.idle.remove(slot)\n        except (IndexError, ValueError):\n"
        "            return None\n",
        "core/test_machine.py::test_a_waiter_between_the_two_looks_of_a_newcomer_has_its_turn",
    ),
    Break(
        "only a successful pop makes an owner",
        "a check in the background goes on when the object has been taken",
        "HookRunner.check_idle",
        "        if not self._locked.run(self._machine.reserve_idle, slot):\n            return\n",
        "        self._locked.run(self._machine.reserve_idle, slot)\n",
        "threads/test_health.py::test_an_object_taken_meanwhile_is_not_checked",
    ),
    Break(
        "popping it from `leased` is the one way out of a lease",
        "a lease is looked up, and stays",
        "PoolMachine.give",
        "self.leased.pop(slot.use, None) is None:\n            raise NotLeased",
        "self.leased.get(slot.use, None) is None:\n            raise NotLeased",
        "threads/test_pool.py::test_a_return_of_a_foreign_or_idle_object_is_logged_and_ignored",
    ),
    Break(
        "take only when no caller waits",
        "a newcomer does not look at the waiters once it has a slot",
        "PoolMachine.take",
        "        if self.waiters or (self.inspecting and",
        "        if (self.inspecting and",
        "core/test_machine.py::test_a_waiter_between_the_two_looks_of_a_newcomer_has_its_turn",
    ),
    Break(
        "what may have changed is checked after the pop",
        "age is not looked at when an object is taken",
        "PoolMachine.take",
        "(self.needs_check(slot, now) or self._unfit_reason(slot, now))",
        "self.needs_check(slot, now)",
        "threads/test_limits.py::test_an_object_past_its_lifetime_is_not_lent",
    ),
    Break(
        "who waits enters the queue, then looks for idle slots",
        "the look comes first",
        "PoolMachine.enter",
        "        else:\n            self.waiters.append(waiter)\n        self.match(now)\n        waiter.parked",
        "        else:\n            self.match(now)\n            self.waiters.append(waiter)\n        waiter.parked",
        "core/test_machine.py::test_a_waiter_that_queues_just_before_a_return_is_seen_by_it",
    ),
    Break(
        "who returns appends to idle, then looks at who waits",
        "the look comes first",
        "PoolMachine.give",
        "        self.idle.append(slot)  # published before the waiters are looked at: see the module's essay\n"
        "        return True if self.waiters else False",
        "        waiting = bool(self.waiters)\n        self.idle.append(slot)\n        return waiting",
        "threads/test_ordering.py::test_a_caller_at_each_bytecode_of_a_return_is_served",
    ),
    Break(
        "a closed pool has a mark in its queue for ever",
        "it has none",
        "PoolMachine.shutdown",
        "        if self.mark not in self.waiters:\n            self.waiters.append(self.mark)",
        "        if not self.waiters:\n            self.waiters.append(self.mark)",
        "contract/test_contract.py::test_shutdown_sends_waiters_away_and_closes_returned_objects",
    ),
    Break(
        "the oldest waiter is served first",
        "the youngest is",
        "PoolMachine.match",
        "        while self.waiters and self._serve(self.waiters[0], now):\n"
        "            self.to_wake.append(self.waiters[0])\n"
        "            self.waiters.popleft()",
        "        while self.waiters and self._serve(self.waiters[-1], now):\n"
        "            self.to_wake.append(self.waiters[-1])\n"
        "            self.waiters.pop()",
        "contract/test_contract.py::test_first_come_first_served",
    ),
    Break(
        "a free place is a slot for who waits",
        "only returned objects are",
        "PoolMachine._next_slot",
        "popped(self.to_create) or (self._new_slot(now) if self._has_room() else None)",
        "popped(self.to_create) or (self._new_slot(now) if not self.registry else None)",
        "threads/test_pool.py::test_objects_are_made_in_parallel_and_stop_no_caller",
    ),
    Break(
        "a return tries the lock, and does not wait for it",
        "it waits",
        "LockedMachine.attempt",
        "self._hold(False, move, *arguments)",
        "self._hold(True, move, *arguments)",
        "threads/test_pool.py::test_a_return_never_blocks_even_while_its_own_thread_has_the_lock",
    ),
    Break(
        "every holder of the lock pumps after releasing it",
        "it does not",
        "LockedMachine.run",
        "            return cast(R, self._hold(True, move, *arguments))\n        finally:\n            self.pump()\n",
        "            return cast(R, self._hold(True, move, *arguments))\n        finally:\n            pass\n",
        "threads/test_ordering.py::test_a_return_at_each_bytecode_of_a_queueing_caller_serves_it",
    ),
    Break(
        "who gives up leaves the queue",
        "it stays",
        "SlotTable._unqueue",
        "            self.waiters.remove(waiter)\n        except ValueError:",
        "            self.waiters.index(waiter)\n        except ValueError:",
        "threads/test_limits.py::test_a_waiter_that_has_given_up_does_not_count",
    ),
    Break(
        "what was served to one who gives up goes to the next one",
        "it is lost",
        "Request.wait",
        "            engine.locked.run(self._machine.cancel, self._waiter)\n",
        "",
        "threads/test_pool.py::test_a_waiter_that_is_interrupted_leaves_the_queue",
    ),
    Break(
        "a failed creation frees its place",
        "it does not",
        "SlotTable._drop",
        "            self._close_slot(slot, reason)\n        else:\n            self._remove(slot)\n",
        "            self._close_slot(slot, reason)\n",
        "threads/test_pool.py::test_a_failed_creation_is_raised_to_its_caller_and_loses_nothing",
    ),
    Break(
        "a finished close frees its place",
        "it does not",
        "PoolMachine.closed",
        "        self._check(slot, CLOSING)\n        self._remove(slot)\n",
        "        self._check(slot, CLOSING)\n",
        "contract/test_contract.py::test_min_size_objects_are_there_from_the_beginning_and_are_replaced",
    ),
    Break(
        "user code is settled whatever it raises",
        "`fun` only when it is an Exception",
        "HookRunner.create",
        "self._make(slot.number))\n        except BaseException as error:",
        "self._make(slot.number))\n        except Exception as error:",
        "threads/test_failures.py::test_user_code_that_raises_loses_nothing",
    ),
    Break(
        "user code is settled whatever it raises",
        "`close` only when it raises nothing",
        "HookRunner.close",
        "        finally:\n            self._locked.run(self._machine.closed, slot)\n",
        "        else:\n            self._locked.run(self._machine.closed, slot)\n",
        "threads/test_pool.py::test_a_close_that_raises_loses_nothing",
    ),
    Break(
        "user code never runs under the lock, nor in a finaliser",
        "objects are let go while a thread has the lock",
        "Engine.finish",
        "        if not self.locked.is_held():\n",
        "        if True:\n",
        "threads/test_pool.py::test_a_finaliser_in_the_locked_region_runs_no_code_of_the_user",
    ),
    Break(
        "no interrupt leaves the lock held",
        "it is taken by the usual idiom",
        "LockedMachine._hold",
        "        for _ in iter(partial(lock.acquire, blocking), False):\n            try:\n",
        "        if lock.acquire(blocking):\n            try:\n",
        "threads/test_interrupts.py::test_a_storm_of_real_signals",
    ),
    Break(
        "a forked child makes everything anew",
        "it goes on with its parent's lock",
        "LockedMachine.disown",
        "        self._lock = new_lock()\n",
        "",
        "systems/test_process.py::test_a_child_that_comes_out_of_fun_waits_for_no_thread_of_its_parent",
    ),
    Break(
        "a forked child makes everything anew",
        "it goes on with its parent's objects",
        "Pool._renew",
        "        self._use(self._engine.successor())\n",
        "        pass\n",
        "systems/test_process.py::test_a_child_starts_with_nothing_and_leaves_the_parent_alone",
    ),
    Break(
        "what a child inherits is never finalised",
        "it is let go",
        "Engine._renew",
        "        keep(self)\n",
        "",
        "systems/test_process.py::test_inherited_objects_are_not_finalised_at_the_end_of_a_child",
    ),
    Break(
        "what a child inherits is never finalised",
        "the objects of pending warnings are let go",
        "Engine._renew",
        "        keep(self)\n",
        "",
        "systems/test_process.py::test_objects_of_pending_and_of_past_warnings_are_not_finalised_in_a_child",
    ),
    Break(
        "`stats` takes no lock",
        "it does",
        "PoolFace.stats",
        "        return self._report.stats()\n",
        "        self._engine.locked.run(lambda now: None)\n        return self._report.stats()\n",
        "threads/test_garbage.py::test_a_return_from_a_finaliser_at_each_bytecode",
    ),
    Break(
        "what a caller parks on is chosen when it waits",
        "it is a thread's lock always",
        "new_parker",
        "    hub = _hub_of_thread()\n    if hub is not None:\n        return GreenletParker(hub)\n",
        "",
        "systems/test_gevent.py::test_a_waiting_greenlet_leaves_the_thread_to_the_others",
    ),
    Break(
        "the housekeeper runs no user code",
        "it does the pools' work itself",
        "Engine._round",
        "not self._start_worker():",
        "self._work():",
        "scopes/test_auto_return.py::test_the_object_of_an_ended_owner_is_tidied_up_in_the_background",
    ),
    Break(
        "without threads, get and ret still work",
        "the failure to start one is raised",
        "Housekeeper._start",
        "suppress(RuntimeError, MemoryError):",
        "suppress(ZeroDivisionError):",
        "threads/test_housekeeper.py::test_when_no_thread_can_be_started_the_call_is_kept",
    ),
    Break(
        "an interrupt does not end the background work",
        "a start that is interrupted leaves the thread marked as alive",
        "start_alone",
        "            if popped(ticket):\n                alive.release()\n",
        "",
        "threads/test_housekeeper.py::test_when_no_thread_can_be_started_the_call_is_kept",
    ),
    Break(
        "a pool that is collected closes its objects",
        "its next round does not know that it was collected",
        "Engine.abandon",
        "            self._is_abandoned = True",
        "            self.locked.attempt(self.machine.shutdown)",
        "threads/test_garbage.py::test_a_pool_that_is_dropped_while_its_lock_is_taken_closes_its_objects",
    ),
    Break(
        "what a proxy keeps is the lease",
        "it trusts that the object is still out",
        "Lease.is_out",
        "        return self._engine.machine.holds(self._use)\n",
        "        return True\n",
        "proxy/test_proxy.py::test_an_object_returned_behind_the_proxy_is_not_used_again",
    ),
    Break(
        "what a proxy keeps is the lease",
        "it does not notice that the object was taken away",
        "Slot.was_killed",
        "        return self.reason is Reason.KILL and self.use == use\n",
        "        return False\n",
        "threads/test_limits.py::test_a_proxy_whose_object_was_taken_away_says_so",
    ),
    Break(
        "a shared instance is never closed in use",
        "it stays among the idle ones when it is used again",
        "KeyedMachine.join",
        "            del self.idle[instance]\n            instance.since = now\n",
        "            instance.since = now\n",
        "keyed/test_machine.py::test_the_next_expiry_is_that_of_the_one_unused_for_longest",
    ),
    Break(
        "there are never two instances of a key",
        "one is made while the one before is being closed",
        "KeyedMachine.ask",
        "if instance is None or instance.state is GONE:",
        "if instance is None or instance.state in (CLOSING, GONE):",
        "keyed/test_pool.py::test_an_instance_asked_for_while_it_is_closed_is_made_again_afterwards",
    ),
    Break(
        "there are never two instances of a key",
        "a key that has gone bad takes another one's place along",
        "KeyedMachine._lead",
        "if self.known.get(instance.key) is not instance:",
        "if instance.key not in self.known:",
        "keyed/test_machine.py::test_a_key_that_has_become_equal_to_another_does_not_take_its_place",
    ),
    Break(
        "who was served and gives up passes on what it has",
        "it keeps it for ever",
        "KeyedEngine._cancel",
        "self.clock()) and waiter.served:",
        "self.clock()) and not waiter.instance:",
        "keyed/test_cancellation.py::test_cancelling_at_every_suspension_loses_no_instance",
    ),
    Break(
        "what is broken is exited with an exception",
        "it is exited with None",
        "KeyedEngine.act",
        ".close(instance, self._exit_error(instance))",
        ".close(instance, None)",
        "keyed/test_pool.py::test_a_discarded_instance_goes_with_its_last_user_and_is_made_again",
    ),
    Break(
        "a pool lives as long as it has something to close",
        "nothing holds it",
        "KeyedEngine._make",
        "        self.resources.keep_owner(self)\n",
        "",
        "keyed/test_ends.py::test_a_forgotten_pool_lives_as_long_as_it_has_something_to_close",
    ),
    Break(
        "no timer keeps anybody's context",
        "the one of who waits does",
        "KeyedEngine.wait",
        "waiter.wake, context=Context())",
        "waiter.wake)",
        "keyed/test_pool.py::test_no_timer_keeps_the_context_of_a_task",
    ),
    Break(
        "a pool keeps no loop that has ended",
        "it stays bound",
        "AsyncKeyedPool._on_loop_ended",
        "        self._binding.release(self._begin)\n",
        "",
        "keyed/test_ends.py::test_a_pool_does_not_keep_a_loop_that_has_ended",
    ),
    Break(
        "who leaves means what was entered",
        "the exit of a proxy that was set meanwhile is that of its new object",
        "bind",
        "    if name in EXITS:\n",
        "    if name in ():\n",
        "transparency/test_transparent_type.py::test_an_entered_object_is_left_when_the_proxy_is_set_meanwhile",
    ),
    Break(
        "an earlier setting knows its successor",
        "who comes late runs the function that was replaced",
        "OwnerProvider.get",
        "self.successor is not None:\n                return self.successor.get(timeout)  # the proxy was set again\n",
        "False:\n                return self.successor.get(timeout)  # the proxy was set again\n",
        "proxy/test_proxy.py::test_a_caller_late_with_an_earlier_provider_gets_the_new_object",
    ),
    Break(
        "the pool of an earlier setting is ended, in any order of events",
        "the one that is made just now stays open",
        "PoolSource.pool",
        "        if self._ended:",
        "        if not self._ended:",
        "scopes/test_per_owner.py::test_an_end_at_any_time_closes_the_pool",
    ),
    Break(
        "a forked child makes its own shared object",
        "its operations are still those of the parent's",
        "SingletonProvider._renew",
        "        self.fixed = False\n        self._seen.reshape()\n",
        "        self.fixed = False\n",
        "proxy/test_proxy.py::test_a_forked_child_makes_its_own_shared_object",
    ),
    Break(
        "an AsyncPool is for its loop alone",
        "a finaliser takes an object back where it runs",
        "call_soon",
        "        loop.call_soon_threadsafe(function, *arguments, context=Context())\n",
        "        function(*arguments)\n",
        "scopes/test_per_task.py::test_a_task_that_is_collected_by_another_thread",
    ),
    Break(
        "an AsyncPool is for its loop alone",
        "a block whose task is collected returns its object in the middle of what the loop does",
        "AsyncLease.__aexit__",
        "kind is GeneratorExit or get_ident()",
        "kind is ZeroDivisionError or get_ident()",
        "async_pool/test_garbage.py::test_a_task_is_collected_at_any_bytecode",
    ),
    Break(
        "a block gives back what it has taken",
        "the task that leaves it gives back its own object",
        "AsyncProxy._obj",
        "            if this_owner() == owner:\n",
        "            if True:\n",
        "scopes/test_per_task.py::test_a_block_that_another_task_leaves",
    ),
    Break(
        "a task that is cancelled forsakes what it waits for",
        "what was served to it is not passed on",
        "Request._cancel",
        "            engine.machine.cancel(waiter, engine.clock())\n            engine.act()\n",
        "            pass\n",
        "async_pool/test_cancellation.py::test_cancelling_at_every_suspension_loses_no_object",
    ),
    Break(
        "a hook outlives its caller",
        "being cancelled cancels the retter",
        "HookRunner.outlast",
        "            self._resources.cancel_after(task, PATIENCE)\n            raise\n",
        "            task.cancel()\n            raise\n",
        "async_pool/test_pool.py::test_a_return_that_is_cancelled_tidies_up_all_the_same",
    ),
    Break(
        "a hook is settled whether its task has begun or not",
        "what is given up at the loop's end is not settled",
        "LoopResources._give_up_work",
        "            abandon(hook)\n            self._hook_ended(hook)\n",
        "            abandon(hook)\n",
        "async_pool/test_ends.py::test_an_object_that_a_hook_does_not_release_is_closed_as_broken",
    ),
    Break(
        "what is broken is exited with an exception",
        "with None",
        "Engine._dispose",
        "        if slot.reason not in FIT:",
        "        if False:",
        "async_pool/test_pool.py::test_only_a_broken_object_is_exited_with_an_exception",
    ),
    Break(
        "an object that was not given back is exited with an exception",
        "with None",
        "LoopResources._end",
        "                task.release(error)\n",
        "                task.release()\n",
        "async_pool/test_ends.py::test_an_unreferenced_pool_is_closed",
    ),
    Break(
        "an overridden method is called by blocks and proxies",
        "they go around it",
        "AsyncPool.obj",
        "if kind.get is GET and kind.ret is RET:",
        "if True:",
        "async_pool/test_overriding.py::test_a_block_and_a_proxy_go_through_an_overridden_get_and_ret",
    ),
    Break(
        "no exception object is raised by two tasks",
        "all who wait are raised the same",
        "SharedError.take",
        "        error, self._next = self._next, copied(self._next)\n",
        "        error = self._next\n",
        "project/test_shared_error.py::test_a_task_that_clears_the_frames_of_its_exception_ends_no_other_task",
    ),
    Break(
        "a pool is collected together with the object whose method is its hook",
        "the task of each object keeps the hook",
        "Engine._create",
        "else self._close_hook,\n",
        "else self.closer,\n",
        "async_pool/test_ends.py::test_a_pool_is_collected_together_with_the_object_whose_method_is_its_hook",
    ),
    Break(
        "daemons that ask while the program ends sleep on",
        "they are sent away",
        "Request.wait",
        "engine.ending not in (None, me.thread):",
        "False:",
        "systems/test_process.py::test_a_daemon_that_asks_while_the_program_closes_its_pool_sleeps_on",
    ),
    Break(
        "who waits for a creation is served in the order of arrival",
        "whatever is made goes to who had it made",
        "Engine.on_entered",
        "            waiter = self.pending.first_come(slot, waiter)\n",
        "",
        "async_pool/test_pool.py::test_an_object_made_later_and_faster_goes_to_the_first_caller",
    ),
    Break(
        "another loop that lives is refused",
        "it is accepted",
        "LoopBinding._check_ended",
        "not self.loop.is_closed():",
        "self.loop.is_closed():",
        "async_pool/test_ends.py::test_a_pool_refuses_another_living_loop_with_advice",
    ),
    Break(
        "who is sent away by the end of its loop begins nothing in the next one",
        "it is told that its object could not be made",
        "Engine._failed",
        "(self.machine.is_shut_down or self.resources.ending)",
        "self.machine.is_shut_down",
        "async_pool/test_ends.py::test_a_caller_left_waiting_by_a_closed_loop_begins_nothing",
    ),
    Break(
        "no request's variables are kept",
        "a timer has the context of who set it",
        "LoopResources.cancel_after",
        "call_later(seconds, self._cancel, task, context=Context())",
        "call_later(seconds, self._cancel, task)",
        "async_pool/test_pool.py::test_a_hook_that_outlives_its_caller_keeps_no_context",
    ),
    Break(
        "an object that ends by itself is not lent",
        "the pool is told when it has ended",
        "ContextTask._until_released",
        "            self._on_left()\n",
        "",
        "async_pool/test_pool.py::test_an_object_that_takes_its_time_to_end_is_not_lent_meanwhile",
    ),
    Break(
        "an object is taken back from owners that have ended, never from one that lives",
        "all owners of a request have ended",
        "Holder.dismiss",
        "        return self.ended\n",
        "        return True\n",
        "examples/test_async_views.py::test_interleaved_calls_without_flask_never_take_from_a_living_task",
    ),
    Break(
        "the end of a request takes back what its own tasks have left",
        "what tasks of all requests have left",
        "Holder.dismiss",
        "        if self._trail is None or self._trail() is not trail:",
        "        if self._trail is None:",
        "examples/test_async_views.py::test_interleaved_requests_of_one_thread_give_back_their_own",
    ),
]


def run() -> Iterator[tuple[Break, bool]]:
    """Break one rule after the other; tell each time whether its test has noticed."""
    for entry in BREAKS:
        yield entry, entry.is_noticed()


def main() -> None:
    """Print the table; end with an error when something went unnoticed."""
    unnoticed = 0
    for entry, noticed in run():
        unnoticed += not noticed
        print(f"{'noticed  ' if noticed else 'UNNOTICED'} {entry.rule}: {entry.how} [{entry.test}]", flush=True)
    print(f"{len(BREAKS)} rules broken, {unnoticed} unnoticed")
    sys.exit(unnoticed > 0)


if __name__ == "__main__":
    main()
