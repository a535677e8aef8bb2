// The service, read from its .proto file.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const file = fileURLToPath(new URL('echo.proto', import.meta.url));
const definition = protoLoader.loadSync(file, { keepCase: true, longs: String, enums: String, defaults: true });

export const { Echo } = grpc.loadPackageDefinition(definition).evenkeel.echo.v1;
