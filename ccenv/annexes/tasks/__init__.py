"""The suite: small tasks of one skill each, whose optimum is known, on which agents are scored."""

from ccenv.annexes.tasks.catalogue import SKILLS, TASKS, Task, suite

__all__ = ["SKILLS", "TASKS", "Task", "suite"]
