"""What an observer of walks is told, without the engine: a program that only looks at a credential walks nothing."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["NO_OBSERVER", "Observer", "Observers", "Transition", "together"]


class Transition(NamedTuple):
    """One edge that was walked.

    `seconds`: how long the activity took, a child's walk included; 0.0 for an event from outside.
    `step`: 1 for the first transition of a walk; a child counts its own.
    """

    machine: str
    source: str
    event: str
    target: str
    seconds: float
    step: int


class Observer(Protocol):
    """Receives the events of a walk. Observers must not raise, and are called in the thread of the walk."""

    def entered(self, machine: str, state: str, activity: str) -> None:
        """Called before the activity of a state runs."""

    def moved(self, transition: Transition) -> None:
        """Called after each transition, those of children included."""


class Observers:
    """Several observers as one, told in this order."""

    __slots__ = ("_observers",)

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def entered(self, machine: str, state: str, activity: str) -> None:
        for observer in self._observers:
            observer.entered(machine, state, activity)

    def moved(self, transition: Transition) -> None:
        for observer in self._observers:
            observer.moved(transition)


NO_OBSERVER: Observer = Observers()


def together(*observers: Observer | None) -> Observer:
    """One observer of walks for those that listen; NO_OBSERVER, which spares a look its walk, where none does."""
    listening = [one for one in observers if one is not None and one is not NO_OBSERVER]
    return Observers(*listening) if listening else NO_OBSERVER
