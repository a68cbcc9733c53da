"""From Program to Program: inline, simplify, canonical forms, work moved out of loops."""
