"""A function that sends its logs and traces to OpenObserve."""

import aws_cdk as cdk
from aws_cdk import aws_lambda, aws_ssm

app = cdk.App()
stack = cdk.Stack(app, "Hello")
hello = aws_lambda.Function(
    stack,
    "Hello",
    runtime=aws_lambda.Runtime.PYTHON_3_13,
    architecture=aws_lambda.Architecture.ARM_64,
    handler="index.handler",
    code=aws_lambda.Code.from_inline("def handler(event, context):\n    print('hello')\n    return 'ok'\n"),
)

# From here ...
layer = aws_lambda.LayerVersion.from_layer_version_arn(stack, "O2Layer", app.node.get_context("o2-layer"))
hello.add_layers(layer)
hello.add_environment("O2_ORGANIZATION_ID", app.node.get_context("o2-organization"))
# `Basic` and the base64 of user:token, in a parameter of this name and of type String: CloudFormation, which reads it
# when it deploys, takes no SecureString here. To keep it out of the configuration see docs/credentials.md.
authorization = aws_ssm.StringParameter.value_for_string_parameter(stack, "/o2/authorization")
hello.add_environment("O2_AUTHORIZATION_HEADER", authorization)
hello.add_environment("AWS_LAMBDA_EXEC_WRAPPER", "/opt/otel-instrument")
# ... to here.

app.synth()
