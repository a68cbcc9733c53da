"""The transforms as users call them: functions from functions to functions over pytrees."""
