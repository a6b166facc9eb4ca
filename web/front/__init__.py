"""A web server in front of the devserver, for a lab whose devices one Python process cannot feed."""
