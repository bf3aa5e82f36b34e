"""The shared harness: plan, run, evaluate, record, export."""
