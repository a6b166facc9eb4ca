"""A bare CherryPy that serves a directory as /static: ``python -m bench.serving.plain_cherrypy DIRECTORY PORTFILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import cherrypy


def main(directory: str, portfile: str) -> None:
    """Serve until somebody ends the process; apart from where and what, as CherryPy is set up by default."""
    cherrypy.config.update(
        {
            "environment": "production",
            "server.socket_host": "127.0.0.1",
            "server.socket_port": 0,
            "log.screen": False,
        }
    )
    section = {"tools.staticdir.on": True, "tools.staticdir.dir": directory}
    cherrypy.tree.mount(None, "/", {"/static": section})
    cherrypy.engine.signals.subscribe()
    cherrypy.engine.start()
    Path(portfile).write_text(str(cherrypy.server.bound_addr[1]))
    cherrypy.engine.block()


if __name__ == "__main__":
    main(*sys.argv[1:])
