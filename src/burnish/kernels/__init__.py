"""Compiled loops for the CPU: what torch does in many passes over memory, done in one."""
