"""docker-compose.yml and the Dockerfile, held against the files and programs to which they refer."""
