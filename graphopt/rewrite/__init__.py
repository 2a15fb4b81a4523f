"""Rewriting: patterns as data, rules, and the driver that applies rules and says why one did not fire."""

from graphopt.rewrite.driver import RewriteLog, rewrite
from graphopt.rewrite.pattern import Const
from graphopt.rewrite.rule import Decline, Rule, node_rule, rule

__all__ = ["Const", "Decline", "RewriteLog", "Rule", "node_rule", "rewrite", "rule"]
