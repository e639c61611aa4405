#!/bin/sh
export ENTRYPOINT_VERSION=v2
