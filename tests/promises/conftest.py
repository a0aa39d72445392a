from tests.integration.conftest import declared, scene

__all__ = ["declared", "scene"]
