terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 5.80" }
  }
}

# From here ...
variable "o2_layer" {
  description = "ARN of the layer for the function's architecture, as o2-lambda deploy prints it."
  type        = string
}

variable "o2_organization" {
  type = string
}

variable "o2_authorization" {
  description = "Basic and the base64 of user:token."
  type        = string
  sensitive   = true
}

locals {
  o2_variables = {
    O2_ORGANIZATION_ID      = var.o2_organization
    O2_AUTHORIZATION_HEADER = var.o2_authorization
    AWS_LAMBDA_EXEC_WRAPPER = "/opt/otel-instrument"
  }
}
# ... to here, and the two marked lines in each function.

variable "role" {
  description = "ARN of the function's role."
  type        = string
}

variable "package" {
  description = "Zip file of the function's code."
  type        = string
}

resource "aws_lambda_function" "hello" {
  function_name = "hello"
  role          = var.role
  runtime       = "python3.13"
  handler       = "index.handler"
  architectures = ["arm64"]
  filename      = var.package
  layers        = [var.o2_layer] # this one

  environment {
    variables = merge(local.o2_variables, { TABLE = "orders" }) # and this one
  }
}
