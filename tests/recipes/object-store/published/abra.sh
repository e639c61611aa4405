#!/bin/sh
export ENTRYPOINT_VERSION=v1
