# The binary is static and built outside (make image): nothing else is needed, and nothing else is in here.
FROM scratch
COPY dist/evenkeel /evenkeel
USER 65532:65532
ENTRYPOINT ["/evenkeel"]
