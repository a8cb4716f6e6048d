"""What no dump carries, written as SQL and said in words."""

from __future__ import annotations

import pytest

from tasks.databases.cluster_state import not_carried, settings_sql


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("statement_timeout", "5min", "\"statement_timeout\" TO '5min'"),
        ("app.Word", "it's", "\"app.Word\" TO 'it''s'"),
        ("app.path", "a\\b", "\"app.path\" TO E'a\\\\b'"),
        ("search_path", '"$user", "Odd, ""one""", public', "\"search_path\" TO '$user', 'Odd, \"one\"', 'public'"),
        ("search_path", '""', "\"search_path\" TO ''"),
        ("search_path", "", "\"search_path\" TO ''"),
        ("DateStyle", "ISO, MDY", "\"DateStyle\" TO 'ISO, MDY'"),
    ],
)
def test_a_setting_of_all_roles_is_written_as_sql(name: str, value: str, said: str) -> None:
    assert settings_sql({"settings_for_all": {name: value}}) == [f"ALTER ROLE ALL SET {said};"]


def test_a_cluster_without_any_of_it_says_nothing() -> None:
    assert settings_sql({}) == []
    assert not_carried({}) == []


def test_a_subscription_is_named_where_it_comes_back_disabled_or_not_at_all() -> None:
    news = {"name": "news", "database": "app", "enabled": True, "slot": "news"}
    (said,) = not_carried({"is_superuser": True, "subscriptions": [news, {**news, "name": "off", "enabled": False}]})
    assert said.startswith("the subscription news of app: it comes back disabled")
    assert "ALTER SUBSCRIPTION news ENABLE" in said
    (said,) = not_carried({"is_superuser": False, "subscriptions": [news]})
    assert said.startswith("the subscription news of app: pg_dump leaves it out")
