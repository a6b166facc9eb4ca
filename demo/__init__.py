"""A demonstration: a build of real files, an archive to publish it in, and a devserver that stages it."""
