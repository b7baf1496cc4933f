# syntax=docker/dockerfile:1
# The HTTP interface (or another command) as an ordinary user on a read-only disk:
#   docker build -t spine-landmarks .
#   docker run --read-only --tmpfs /tmp:size=4g --cap-drop ALL --security-opt no-new-privileges \
#     -e SPINE_LANDMARKS_API_TOKEN -p 127.0.0.1:8080:8080 spine-landmarks
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE.txt ./
COPY SpineLandmarksLib SpineLandmarksLib
COPY Resources Resources
RUN python -m venv /opt/spine-landmarks \
 && /opt/spine-landmarks/bin/pip install --no-cache-dir --constraint constraints.txt '.[api]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin landmarks
COPY --from=build /opt/spine-landmarks /opt/spine-landmarks
ENV PATH=/opt/spine-landmarks/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["spine-landmarks"]
# TLS is the proxy's in front of the container.
CMD ["api", "--host", "0.0.0.0", "--without-tls"]
