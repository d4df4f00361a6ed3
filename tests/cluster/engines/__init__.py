"""What every engine must do, whatever runs behind it."""
