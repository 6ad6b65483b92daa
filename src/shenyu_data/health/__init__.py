"""Watching over it: runs, schedules, alerts, tripwires, drills, notifications, who touches it."""
