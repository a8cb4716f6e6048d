"""Which new volumes look like a pinned one: the incident's does, other products' and other services' do not."""

from __future__ import annotations

import pytest

from tasks.watching.look_alike import VolumeName, looks_like, own_words

OWN = own_words("knowledge_os", "knowledge_postgres", "knowledge_os", "knowledge_postgres_data")
PINNED = VolumeName("atra_knowledge_postgres_data", "knowledge_postgres_data")
WITHOUT_LABELS = VolumeName("atra_knowledge_postgres_data")


def test_own_words_are_those_that_no_other_database_need_have() -> None:
    assert {"knowledge", "os"} == OWN
    assert own_words("main", "postgres", "app_pgdata", "postgres") == frozenset()
    assert own_words("shop-2024", "shop_pg17") == {"shop"}


@pytest.mark.parametrize("pinned", [PINNED, WITHOUT_LABELS], ids=["labelled", "external"])
@pytest.mark.parametrize(
    "new",
    [
        VolumeName("knowledge_os_postgres_data", "postgres_data"),  # the incident
        VolumeName("knowledge_os_postgres_data"),  # the same, by docker run
        VolumeName("knowledge_os_knowledge_postgres_data", "knowledge_postgres_data"),  # the same file elsewhere
        VolumeName("backend_knowledge_postgres_data", "knowledge_postgres_data"),  # under any project's name
        VolumeName("atra-2_knowledge_postgres_data", "knowledge_postgres_data"),
        VolumeName("knowledge-os-postgres-data"),
        VolumeName("Knowledge_OS_postgres_data", "postgres_data"),
    ],
    ids=lambda new: f"{new.name}{'' if new.key else ' unlabelled'}",
)
def test_the_same_services_data_under_another_project_looks_like_it(new: VolumeName, pinned: VolumeName) -> None:
    assert looks_like(new, pinned, OWN)


@pytest.mark.parametrize("pinned", [PINNED, WITHOUT_LABELS], ids=["labelled", "external"])
@pytest.mark.parametrize(
    "new",
    [
        PINNED,  # itself
        VolumeName("shop_postgres_data", "postgres_data"),  # another product's database
        VolumeName("postgres_data"),
        VolumeName("knowledge_os_redis_data", "redis_data"),  # another service of the product
        VolumeName("knowledge_os_redis_data"),
        VolumeName("atra_grafana_storage", "grafana_storage"),
        VolumeName("knowledge_uploads", "uploads"),
        VolumeName("atra_blog_postgres_data", "blog_postgres_data"),  # another database of the same project
        VolumeName("atra_blog_postgres_data"),
        VolumeName("knowledge_blog_postgres_data"),  # and of the same product, made by hand
        VolumeName("atra_knowledge_postgres_data_backup"),  # a copy that says so
        VolumeName("atra_knowledge_postgres_data.rollcall-20260201T020000Z-ab12cd"),
        VolumeName("atra_knowledge_postgres_wal", "knowledge_postgres_wal"),
        VolumeName("0f" * 32),  # anonymous
        VolumeName(""),
    ],
    ids=lambda new: f"{new.name[:40]}{'' if new.key else ' unlabelled'}",
)
def test_anything_else_does_not(new: VolumeName, pinned: VolumeName) -> None:
    assert not looks_like(new, pinned, OWN)


@pytest.mark.parametrize(
    ("pinned", "new", "alike"),
    [
        (VolumeName("shop_data", "data"), VolumeName("shop-staging_data", "data"), False),  # `data` alone is anybody's
        (VolumeName("shop_data", "data"), VolumeName("shop-db_data", "data"), True),
        (VolumeName("shop_data", "data"), VolumeName("shop-redis_data", "data"), False),
        (VolumeName("shop_pgdata", "pgdata"), VolumeName("shop-staging_pgdata", "pgdata"), True),
        (VolumeName("shop_pgdata", "pgdata"), VolumeName("blog_pgdata", "pgdata"), False),
    ],
    ids=lambda each: getattr(each, "name", None),
)
def test_the_less_a_key_says_the_more_the_rest_of_the_name_must(
    pinned: VolumeName, new: VolumeName, alike: bool
) -> None:
    assert looks_like(new, pinned, own_words("shop", "shop-db-1", "shop", pinned.key or "")) is alike
