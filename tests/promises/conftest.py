from tests.integration.conftest import scene

__all__ = ["scene"]
