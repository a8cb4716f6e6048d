"""Makes the bed's fixtures known to every test, and lets no test fail for being slow on a busy machine."""

from hypothesis import HealthCheck, settings

from tests.bed import compose_programs

pytest_plugins = ["tests.bed.fixtures"]

settings.register_profile("rollcall", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rollcall")

compose_programs.use()
