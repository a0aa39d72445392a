# The operator. Its wheels are built outside, by scripts/wheels, because a build may have no access to a package index.
ARG BASE=python:3.11-slim
FROM ${BASE} AS installed
# The dependencies come first: they change seldom, so their layer is cached.
COPY build/wheels/dependencies/ /wheels/
RUN python3 -m venv /opt/kanary \
 && /opt/kanary/bin/pip install --no-index --no-deps --no-cache-dir /wheels/*.whl
COPY build/wheels/kanary/ /wheels/
RUN /opt/kanary/bin/pip install --no-index --no-deps --no-cache-dir /wheels/kanary-*.whl \
 && /opt/kanary/bin/pip check \
 && /opt/kanary/bin/pip uninstall --yes --quiet pip setuptools

FROM ${BASE}
COPY --from=installed /opt/kanary /opt/kanary
# One arena: with one for each thread, the C library keeps some megabytes more than it uses.
ENV PATH=/opt/kanary/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1
USER 65532:65532
ENTRYPOINT ["kanary"]
CMD ["run"]
