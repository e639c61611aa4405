#!/bin/sh
export NGINX_CONF_VERSION=v1
export TLS_PEM_VERSION=v1
