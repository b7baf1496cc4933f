# syntax=docker/dockerfile:1
# The HTTP interface, or the DICOM node, as an ordinary user on a read-only disk:
#   docker build -t spine-landmarks .
#   docker run --read-only --tmpfs /tmp:size=4g --cap-drop ALL --security-opt no-new-privileges \
#     -e SPINE_LANDMARKS_API_TOKEN -p 127.0.0.1:8080:8080 spine-landmarks
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --no-healthcheck -v queue:/queue -p 127.0.0.1:11112:11112 spine-landmarks \
#     node --aet LANDMARKS --host 0.0.0.0 --port 11112 --send PACS@pacs.example:104 --queue /queue --allow PACS
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE.txt ./
COPY SpineLandmarksLib SpineLandmarksLib
COPY Resources Resources
RUN python -m venv /opt/spine-landmarks \
 && /opt/spine-landmarks/bin/pip install --no-cache-dir --constraint constraints.txt '.[api,dicom]'

FROM python:3.11-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin landmarks \
 && install --directory --owner landmarks /queue
COPY --from=build /opt/spine-landmarks /opt/spine-landmarks
ENV PATH=/opt/spine-landmarks/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["spine-landmarks"]
# TLS is the proxy's in front of the container.
CMD ["api", "--host", "0.0.0.0", "--without-tls"]
