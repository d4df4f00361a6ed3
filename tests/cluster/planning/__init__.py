"""The memory planner: its tables, its arithmetic against published and measured numbers, its laws."""
